"""Errors that the user reads in one line, suggestions for misspelt names, and exceptions that stop a run."""

import difflib
from collections.abc import Iterable


class ConfigurationError(Exception):
    """An error that the user can mend; its one line says what was found and where, what was possible, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class StageError(ConfigurationError):
    """A stage cannot be built, resumed or scored; the message is one line for the user."""


class DivergedError(StageError):
    """A training ended in NaN; its settings are to blame, not the experiment."""


class Interrupted(Exception):
    """Somebody asked the program to stop, by Ctrl-C or SIGTERM; what has been trained is kept."""


class GivenUp(Exception):
    """A training was ended because it was not worth going on with; nothing failed."""


def nearest(name: str, known: Iterable[str], count: int = 1) -> list[str]:
    """Return up to ``count`` of the known names that look like this one, best first; case does not count."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    return [by_lower[lower] for lower in difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=0.6)]


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` if a known name looks like this one, else an empty text."""
    near = nearest(name, known)
    return f" (did you mean {near[0]!r}?)" if near else ""


def listing(names: Iterable[str], limit: int = 24) -> str:
    """Return the names in one line, the first ``limit`` if there are more; ``nothing`` if there are none."""
    shown = list(names)
    return (", ".join(shown[:limit]) + (", …" if len(shown) > limit else "")) or "nothing"


def first_line(error: BaseException) -> str:
    """Return an exception's message in one line; without a message, the name of its class."""
    # str() of a KeyError is the repr of its message.
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(message).split()) or type(error).__name__
