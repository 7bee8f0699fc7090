"""Writing files that others read while they are written."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield where to write what shall stand at ``path``, and put it there in one step; after an error nothing changes.

    A reader finds the file as it was before or whole. Each writer has a place of its own, so that of several, also on
    several machines, the last one's file stays, and none takes away what another is writing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield scratch
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
