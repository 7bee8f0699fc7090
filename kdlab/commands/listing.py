"""``kdlab list``: every class that an experiment can name, read from the sources."""

import argparse
import shutil
import textwrap

from kdlab.commands.family import members
from kdlab.configuration.sources import KINDS, ClassSource, folder_classes, package_classes
from kdlab.errors import ConfigurationError, listing, suggestion


def show(asked: argparse.Namespace) -> None:
    """Print kind by kind the classes of the package and of the user's folder, with their arguments."""
    if asked.kind is not None and asked.kind not in KINDS:
        raise ConfigurationError(
            f"there is no kind {asked.kind!r}{suggestion(asked.kind, KINDS)}; there is {listing(KINDS)}"
        )
    own = folder_classes(asked.own) if asked.own.is_dir() else []
    width = min(shutil.get_terminal_size((120, 24)).columns, 120)
    for kind in KINDS if asked.kind is None else (asked.kind,):
        classes = members(kind, [source for source in package_classes() if source.kind == kind])
        further = [source for source in own if source.kind == kind]
        if classes or further:
            print(f"{kind}:")
            for source in classes:
                print(_entry(source, source.name, width))
            for source in further:
                print(_entry(source, source.path, width))


def _entry(source: ClassSource, name: str, width: int) -> str:
    call = f"{name}({', '.join(source.arguments)})"
    lines = textwrap.wrap(call, width, initial_indent="  ", subsequent_indent="      ", break_long_words=False)
    lines += textwrap.wrap(source.summary, width, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines)
