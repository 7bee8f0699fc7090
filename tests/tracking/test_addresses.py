"""No secret of an address is shown or stored, whatever its form."""

import pytest

from kdlab.tracking.addresses import linkable, shown, store_name

SECRET = "s3cr3t"
# An address or a sentence with the secret, and what is shown of it.
FORMS = {
    "user and password": (f"postgresql://me:{SECRET}@host:5432/db", "postgresql://me:***@host:5432/db"),
    "password with @": (f"postgresql://me:p@{SECRET}@host/db", "postgresql://me:***@host/db"),
    "password with a colon": (f"postgresql://me:a:{SECRET}@host/db", "postgresql://me:***@host/db"),
    "password with a slash": (f"postgresql://me:a/{SECRET}@host/db", "postgresql://me:***@host/db"),
    "digits and a slash": (f"postgresql://me:12/{SECRET}@host/db", "postgresql://me:***@host/db"),
    "password with a hash": (f"postgresql://me:a#{SECRET}@host/db", "postgresql://me:***@host/db"),
    "password with a question mark": (f"postgresql://me:a?{SECRET}@host/db", "postgresql://me:***@host/db"),
    "question mark and a query": (f"mysql://me:a?{SECRET}@host/db?ssl=1", "mysql://me:***@host/db?ssl=1"),
    "password with a space": (f"postgresql://me:two {SECRET}@host/db", "postgresql://me:***@host/db"),
    "password with @ and a space": (f"postgresql://me:p@ss {SECRET}@host/db", "postgresql://me:***@host/db"),
    "password with another ://": (f"postgresql://me:a://{SECRET}@host/db", "postgresql://me:***@host/db"),
    "percent-encoded": (f"postgresql://me:p%40{SECRET}@host/db", "postgresql://me:***@host/db"),
    "percent-encoded user": (f"postgresql://me%40work:{SECRET}@host/db", "postgresql://me%40work:***@host/db"),
    "psycopg2": (f"postgresql+psycopg2://me:{SECRET}@host/db", "postgresql+psycopg2://me:***@host/db"),
    "psycopg": (f"postgresql+psycopg://me:{SECRET}@host/db", "postgresql+psycopg://me:***@host/db"),
    "pymysql": (f"mysql+pymysql://me:{SECRET}@host/db?charset=utf8", "mysql+pymysql://me:***@host/db?charset=utf8"),
    "several hosts": (f"postgresql://me:{SECRET}@a:5432,b:5433/db", "postgresql://me:***@a:5432,b:5433/db"),
    "IPv6 host": (f"postgresql://me:{SECRET}@[::1]:5432/db", "postgresql://me:***@[::1]:5432/db"),
    "redis": (f"redis://:{SECRET}@host:6379/0", "redis://***@host:6379/0"),
    "web": (f"https://me:{SECRET}@host/mlflow", "https://***@host/mlflow"),
    "token as user": (f"https://{SECRET}@host", "https://***@host"),
    "token and no password": (f"https://{SECRET}:@host", "https://***@host"),
    "token with a space": (f"https://a {SECRET}@host", "https://***@host"),
    "password in the query": (
        f"postgresql://host/db?user=me&password={SECRET}",
        "postgresql://host/db?user=me&password=***",
    ),
    "with @ in the query": (
        f"postgresql://host/db?user=me&password=a@{SECRET}",
        "postgresql://host/db?user=me&password=***",
    ),
    "with a space in the query": (
        f"postgresql://host/db?password=a {SECRET}&x=1",
        "postgresql://host/db?password=***&x=1",
    ),
    "user and a query's password": (
        f"postgresql://me@host/db?password={SECRET}",
        "postgresql://me@host/db?password=***",
    ),
    "several hosts in the query": (
        f"postgresql://me:{SECRET}@/db?host=a:1&host=b:2",
        "postgresql://me:***@/db?host=a:1&host=b:2",
    ),
    "sslpassword": (
        f"postgresql://me@host/db?sslpassword={SECRET}&sslkey=k",
        "postgresql://me@host/db?sslpassword=***&sslkey=k",
    ),
    "token in the query": (f"https://host/path?run=1&token={SECRET}", "https://host/path?run=1&token=***"),
    "access token": (f"https://host?access_token={SECRET}", "https://host?access_token=***"),
    "signature": (f"https://host/a?sv=1&sig={SECRET}&se=2", "https://host/a?sv=1&sig=***&se=2"),
    "key=value in the query": (
        f"mssql+pyodbc:///?odbc_connect=DRIVER=x;UID=me;PWD={SECRET}",
        "mssql+pyodbc:///?odbc_connect=***",
    ),
    "the same encoded": (
        f"mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3D{SECRET}&x=1",
        "mssql+pyodbc:///?odbc_connect=***&x=1",
    ),
    "key=value alone": (f"host=h user=me password='two {SECRET}' dbname=d", "host=h user=me password=*** dbname=d"),
    "within a sentence": (
        f"cannot reach postgresql://me:{SECRET}@host/db (timeout); try again",
        "cannot reach postgresql://me:***@host/db (timeout); try again",
    ),
    "quoted within a sentence": (
        f"Could not parse 'postgresql://me:{SECRET}@host' from the given text",
        "Could not parse 'postgresql://me:***@host' from the given text",
    ),
    "a query within a sentence": (
        f"GET https://host/a?token={SECRET} failed with 401",
        "GET https://host/a?token=*** failed with 401",
    ),
    "two within a sentence": (
        f"from https://{SECRET}@a/x to mysql://me:{SECRET}@b/y",
        "from https://***@a/x to mysql://me:***@b/y",
    ),
    "on a command line": (
        f"kdlab sweep x.yaml --storage 'postgresql://me:a {SECRET}@host/db' --workers 2",
        "kdlab sweep x.yaml --storage 'postgresql://me:***@host/db' --workers 2",
    ),
    "over several lines": (
        f"first\nhttps://{SECRET}@host/ is away\nmail me@example.org",
        "first\nhttps://***@host/ is away\nmail me@example.org",
    ),
}
UNCHANGED = [
    "sqlite:////data/me@work/mlruns/mlflow.db",
    "sqlite:///relative.db",
    "sqlite://",
    "file:/data/me@work/mlruns",
    "file:///data/me@work/mlruns",
    "http://host:5000",
    "http://127.0.0.1:5000/path?page=2",
    "http://[::1]:5000",
    "http://[bad",
    "databricks",
    "databricks://profile",
    "databricks://scope:prefix",
    "postgresql://me@host/db",
    "postgresql://me:@host/db",
    "postgresql://a:1,b:2/db?target_session_attrs=read-write",
    "/data/me/mlruns",
    "journal.log",
    "cannot reach http://host:5000 (refused), write to me@example.org",
    "nothing of 'digits' has been run in /data/me; run it first",
    "",
]


@pytest.mark.parametrize("form", FORMS)
def test_the_secret_is_hidden_and_the_rest_stays(form: str) -> None:
    text, expected = FORMS[form]
    assert SECRET in text
    assert shown(text) == expected
    assert shown(expected) == expected


@pytest.mark.parametrize("text", UNCHANGED)
def test_what_holds_no_secret_stays_as_it_is(text: str) -> None:
    assert shown(text) == text
    assert store_name(text) == text


@pytest.mark.parametrize("form", [form for form, (text, _) in FORMS.items() if "://" in text.split(" ")[0]])
def test_a_text_that_repeats_parts_of_a_known_address_shows_none_of_its_secret(form: str) -> None:
    address, _ = FORMS[form]
    assert SECRET not in shown(f"could not use {address} at all", address)
    assert SECRET not in shown(f"line 1\n{address}\nline 3", address)


def test_the_password_alone_is_hidden_where_the_address_is_known_also_decoded() -> None:
    said = shown("login 'two words' failed, sent two%20words", "postgresql://me:two%20words@host/db")
    assert said == "login '***' failed, sent ***"


def test_stores_that_differ_by_their_secret_alone_have_two_names_without_it() -> None:
    one, other = store_name("https://first-token@host"), store_name("https://other-token@host")
    assert one != other
    assert one.startswith("https://***@host #")
    assert store_name("https://first-token@host") == one


def test_a_link_leads_to_the_server_without_user_and_password() -> None:
    assert linkable(f"https://me:{SECRET}@host:5000/mlflow") == "https://host:5000/mlflow"
    assert linkable("http://host:5000") == "http://host:5000"
