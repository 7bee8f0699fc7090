"""Addresses of databases and servers in a form that may be shown, logged or stored: without their secrets."""

import hashlib
import re
from urllib.parse import unquote, unquote_plus

#: Replaces a secret in a text.
HIDDEN = "***"
PAIR_HIDDEN = rf"\1{HIDDEN}"
# An address begins after a space, a quote, a bracket or the like; "://" inside a password does not begin one.
BEGINS = re.compile(r"(?<![^\s'\"<>(\[{=,;`])[A-Za-z][A-Za-z0-9+.-]*://")
# In these addresses a user without a password is a name; in all others (https, redis ...) it is a token.
WITH_USERS = re.compile(r"(postgres|mysql|mariadb|mssql|oracle|cockroach|snowflake|redshift|trino|ssh|s?ftp)", re.I)
# One host or several, each with or without a port, and perhaps a path: text in which no user can be hidden.
HOST = r"(?:\[[^\s@/?#\]]*\]?|[^\s:@/?#,\[]*)(?::\d*)?"
HOST_AND_PATH = re.compile(rf"{HOST}(?:,{HOST})*(?:[/#].*)?")
QUERY = re.compile(r"[?&][\w.-]+=")
# The first are names of secrets anywhere in a text; the second name a secret only in a query.
NAMED = (
    r"(?:[\w.-]*[_.-])?(?:(?:ssl|db|my|user)?(?:password|passwd|passphrase|pwd)|"
    r"(?:access|auth)?token|secret|api[_-]?key)"
)
QUERIED = (
    r"(?:[\w.-]*[_.-])?(?:pass|\w*token|\w*secret|\w*(?:api|access|account|shared|private)[_-]?key|"
    r"credentials?|auth(?:orization)?|sig(?:nature)?)"
)
SECRET = rf"(?:{NAMED}|{QUERIED})"
# A query's value ends at the next "&"; in a sentence it ends at a space, unless the query continues after it.
IN_QUERY = re.compile(rf"([?&;#]{SECRET}=)([^&'\"]*(?=&\S+=)|[^&\s'\"]*)", re.I)
IN_LONE_QUERY = re.compile(rf"([?&;#]{SECRET}=)([^&]*)", re.I)
# A pair as libpq and ODBC write it, in a sentence or in a query's value.
PAIR = re.compile(rf"(?<![\w.-])({NAMED}\s*=\s*)('[^']*'|\"[^\"]*\"|\{{[^}}]*\}}|[^\s'\"&;,)]+)", re.I)
VALUE = re.compile(r"([?&][\w.-]+=)([^&]*)")


def shown(text: str, *known: str) -> str:
    """Return a text without the secrets of the addresses in it; the text may also be a single address.

    Three kinds of secrets are hidden: passwords, tokens in the place of a user, and values that a query or a list of
    ``key=value`` calls password, token, key or the like. If it is unclear where a secret ends, more than the secret is
    hidden.

    Args:
        text: An address, or a sentence with any number of them, such as a library's error.
        known: Addresses of which the text may repeat parts, such as only the password.
    """
    for address in known:
        text = text.replace(address, shown(address))
        for secret in sorted(_secrets(address), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
    starts = [match.start() for match in BEGINS.finditer(text)]
    if not starts:
        return PAIR.sub(PAIR_HIDDEN, text)
    parts = [PAIR.sub(PAIR_HIDDEN, text[: starts[0]])]
    lone = len(starts) == 1 and not text[: starts[0]].strip()
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        line, newline, rest = text[start:end].partition("\n")
        parts.append(_without_secrets(line, lone) + newline + PAIR.sub(PAIR_HIDDEN, rest))
    return "".join(parts)


def linkable(address: str) -> str:
    """Return a server's address as it may stand in a link, without its secrets; the reader signs in himself."""
    return shown(address).replace(f"{HIDDEN}@", "")


def store_name(address: str) -> str:
    """Return the name under which a store is remembered on disk: readable, without secrets.

    If the address has secrets, a digest of it is added, so that addresses that differ only in their secrets get
    different names. The digest is slow to compute, so that no password can be found by trying.
    """
    visible = shown(address)
    if visible == address:
        return address
    digest = hashlib.pbkdf2_hmac("sha256", address.encode(), b"kdlab's names of stores", 100_000)
    return f"{visible} #{digest.hex()[:8]}"


def _without_secrets(address: str, lone: bool) -> str:
    """Return an address without its secrets, together with the text that follows it on its line."""
    scheme, _, rest = address.partition("://")
    user, rest = _user_and_rest(rest, lone)
    if user is not None:
        name, _, password = user.partition(":")
        visible = user if not password else f"{name}:{HIDDEN}"
        rest = f"{visible if WITH_USERS.match(scheme) else HIDDEN}@{rest}"
    rest = VALUE.sub(_without_nested, rest)
    rest = (IN_LONE_QUERY if lone else IN_QUERY).sub(PAIR_HIDDEN, rest)
    return f"{scheme}://{PAIR.sub(PAIR_HIDDEN, rest)}"


def _user_and_rest(rest: str, lone: bool) -> tuple[str | None, str]:
    """Return what stands before the host, or None if nothing does, and the rest.

    A password may hold any sign, so the last ``@`` ends it.
    """
    if rest.startswith("/") or "@" not in rest:  # the path of a file follows no host, and so no user
        return None, rest
    query = QUERY.search(rest)
    head = rest[: query.start()] if query else rest
    if "@" not in head:
        if HOST_AND_PATH.fullmatch(head):
            return None, rest
        head = rest
    elif not lone:  # the "@" may belong to a later word of the sentence
        first = re.split(r"[\s'\"]", head, maxsplit=1)[0]
        if "@" not in first and HOST_AND_PATH.fullmatch(first):
            return None, rest
    user, _, host = head.rpartition("@")
    return user, host + rest[len(head) :]


def _without_nested(match: re.Match[str]) -> str:
    """Return a query's value, hidden if it is itself a list of ``key=value``, such as ODBC's, that holds a secret."""
    return f"{match[1]}{HIDDEN}" if PAIR.search(unquote_plus(match[2])) else match[0]


def _secrets(address: str) -> set[str]:
    """Return the passwords and tokens of an address, both as written and decoded.

    Short ones are left out, because replacing them would damage unrelated words.
    """
    scheme, _, rest = address.partition("://")
    user, _ = _user_and_rest(rest, lone=True)
    secrets = {match[2] for match in IN_LONE_QUERY.finditer(rest)}
    if user is not None:
        name, _, password = user.partition(":")
        secrets |= {password} if WITH_USERS.match(scheme) else {name, password, user}
    return {secret for one in secrets for secret in (one, unquote(one)) if len(secret) > 3}
