"""Paths as a user writes them in an experiment."""

import os
import re
from pathlib import Path


def expanded(path: str) -> Path:
    """Return the path with ``~`` and environment variables expanded, whether there is anything or not.

    Raises:
        ValueError: If it names an environment variable that is not set.
        RuntimeError: If it names a user without a home.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in os.environ:
            raise ValueError(f"{path} needs the environment variable {name}, which is not set: export {name}=FOLDER")
        return os.environ[name]

    return Path(re.sub(r"\$(?:\{(\w+)\}|(\w+))", value, path)).expanduser()


def resolved(path: str) -> Path:
    """Return the absolute path: ``~`` and environment variables expanded, relative to the working directory.

    Args:
        path: For example ``${KDLAB_DATA}/letters/letter.csv``.

    Raises:
        ValueError: If the path names an environment variable that is not set.
        FileNotFoundError: If nothing is there.
    """
    absolute = expanded(path).absolute()
    if not absolute.exists():
        raise FileNotFoundError(
            f"no file or folder {absolute}" + (f" (written {path})" if str(absolute) != path else "")
        )
    return absolute
