"""``kdlab list``: every class that an experiment can name, with its arguments."""

import argparse
import inspect
import shutil
import sys
import textwrap

from kdlab.configuration.sources import KINDS
from kdlab.errors import ConfigurationError, listing, suggestion


def show(arguments: argparse.Namespace) -> None:
    """Print the classes of kdlab and of the user's folder with their arguments, kind by kind.

    Raises:
        ConfigurationError: If there is no such kind.
    """
    if arguments.kind is not None and arguments.kind not in KINDS:
        raise ConfigurationError(
            f"there is no kind {arguments.kind!r}{suggestion(arguments.kind, KINDS)}; there is {listing(KINDS)}"
        )
    # Imported late, because it loads torch and every class of kdlab, which takes seconds.
    from kdlab.commands.class_kinds import call_of, classes_of_folder, classes_of_package, kind_of

    own, failures = classes_of_folder(arguments.own) if arguments.own.is_dir() else ([], [])
    width = min(shutil.get_terminal_size((120, 24)).columns, 120)
    for kind in KINDS if arguments.kind is None else (arguments.kind,):
        classes = [*classes_of_package(kind), *(pair for pair in own if kind_of(pair[1]) == kind)]
        if classes:
            print(f"{kind}:")
        for name, target in classes:
            print(_entry(call_of(name, target), target, width))
    for failure in failures:
        print(f"kdlab: {failure}", file=sys.stderr)


def _entry(call: str, target: type, width: int) -> str:
    summary = " ".join((inspect.getdoc(target) or "").split("\n\n")[0].split())
    lines = textwrap.wrap(call, width, initial_indent="  ", subsequent_indent="      ", break_long_words=False)
    lines += textwrap.wrap(summary, width, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines)
