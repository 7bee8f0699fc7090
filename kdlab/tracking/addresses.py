"""Addresses of databases and servers as they may be shown, logged or stored: without their secrets."""

import hashlib
import re
from urllib.parse import unquote, unquote_plus

#: Stands where a secret was.
HIDDEN = "***"
PAIR_HIDDEN = rf"\1{HIDDEN}"
# What precedes an address in a sentence; inside a password "://" begins none.
BEGINS = re.compile(r"(?<![^\s'\"<>(\[{=,;`])[A-Za-z][A-Za-z0-9+.-]*://")
# Of these a user without a password is who asks, of all others (https, redis ...) it is a token.
WITH_USERS = re.compile(r"(postgres|mysql|mariadb|mssql|oracle|cockroach|snowflake|redshift|trino|ssh|s?ftp)", re.I)
# One host or several, each with or without a port, and perhaps a path: nothing that could be a user.
HOST = r"(?:\[[^\s@/?#\]]*\]?|[^\s:@/?#,\[]*)(?::\d*)?"
HOST_AND_PATH = re.compile(rf"{HOST}(?:,{HOST})*(?:[/#].*)?")
QUERY = re.compile(r"[?&][\w.-]+=")
# Names of secrets anywhere in a text, and those that are one in a query alone.
NAMED = (
    r"(?:[\w.-]*[_.-])?(?:(?:ssl|db|my|user)?(?:password|passwd|passphrase|pwd)|"
    r"(?:access|auth)?token|secret|api[_-]?key)"
)
QUERIED = (
    r"(?:[\w.-]*[_.-])?(?:pass|\w*token|\w*secret|\w*(?:api|access|account|shared|private)[_-]?key|"
    r"credentials?|auth(?:orization)?|sig(?:nature)?)"
)
SECRET = rf"(?:{NAMED}|{QUERIED})"
# In a query a value ends at the next "&", in a sentence at a space, unless the query goes on behind it.
IN_QUERY = re.compile(rf"([?&;#]{SECRET}=)([^&'\"]*(?=&\S+=)|[^&\s'\"]*)", re.I)
IN_LONE_QUERY = re.compile(rf"([?&;#]{SECRET}=)([^&]*)", re.I)
# As libpq and ODBC write it, in a sentence or in a query's value.
PAIR = re.compile(rf"(?<![\w.-])({NAMED}\s*=\s*)('[^']*'|\"[^\"]*\"|\{{[^}}]*\}}|[^\s'\"&;,)]+)", re.I)
VALUE = re.compile(r"([?&][\w.-]+=)([^&]*)")


def shown(text: str, *known: str) -> str:
    """Return a text without the secrets of the addresses in it, or of the one that it is.

    Hidden are passwords, tokens that stand where a user may, and values that a query or a list of ``key=value`` calls
    password, token, key or the like. Where it cannot be known what ends a secret, more is hidden than had to be.

    Args:
        text: An address, or a sentence, such as a library's error, with any number of them.
        known: Addresses of which the text may repeat parts, such as the password alone.
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
    """Return a server's address as it may stand in a link: whoever follows it signs in by himself."""
    return shown(address).replace(f"{HIDDEN}@", "")


def store_name(address: str) -> str:
    """Return the name under which a store is remembered on disk: readable, without secrets.

    A digest tells apart what secrets alone tell apart. It is slow to compute, so that no password is found by trying.
    """
    visible = shown(address)
    if visible == address:
        return address
    digest = hashlib.pbkdf2_hmac("sha256", address.encode(), b"kdlab's names of stores", 100_000)
    return f"{visible} #{digest.hex()[:8]}"


def _without_secrets(address: str, lone: bool) -> str:
    """An address without its secrets, together with what stands behind it on its line."""
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
    """What stands before the host, None if nothing does; a password may hold any sign, so the last ``@`` ends it."""
    if rest.startswith("/") or "@" not in rest:  # a file's path has no host
        return None, rest
    query = QUERY.search(rest)
    head = rest[: query.start()] if query else rest
    if "@" not in head:
        if HOST_AND_PATH.fullmatch(head):
            return None, rest
        head = rest
    elif not lone:  # the "@" may stand in a further word
        first = re.split(r"[\s'\"]", head, maxsplit=1)[0]
        if "@" not in first and HOST_AND_PATH.fullmatch(first):
            return None, rest
    user, _, host = head.rpartition("@")
    return user, host + rest[len(head) :]


def _without_nested(match: re.Match[str]) -> str:
    """A query's value that is itself a list of ``key=value``, such as ODBC's, and holds a secret."""
    return f"{match[1]}{HIDDEN}" if PAIR.search(unquote_plus(match[2])) else match[0]


def _secrets(address: str) -> set[str]:
    """Passwords and tokens of an address, as written and decoded; short ones would tear words that are none."""
    scheme, _, rest = address.partition("://")
    user, _ = _user_and_rest(rest, lone=True)
    secrets = {match[2] for match in IN_LONE_QUERY.finditer(rest)}
    if user is not None:
        name, _, password = user.partition(":")
        secrets |= {password} if WITH_USERS.match(scheme) else {name, password, user}
    return {secret for one in secrets for secret in (one, unquote(one)) if len(secret) > 3}
