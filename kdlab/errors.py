"""What stops a run because of what the user gave or did."""

from kdlab.configuration.errors import ConfigurationError


class StageError(ConfigurationError):
    """A stage cannot be built, resumed or scored; the message is one line for the user."""


class DivergedError(StageError):
    """A training that ended in NaN: the settings are to blame, not the experiment."""


class Interrupted(Exception):
    """Somebody asked the program to stop, by Ctrl-C or SIGTERM; what has been trained is kept."""


class GivenUp(Exception):
    """A training that is not worth going on with; nothing failed."""
