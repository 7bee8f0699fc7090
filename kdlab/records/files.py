"""Files that count: whole or not there at all, and on the disk before anybody builds on them.

A writer's scratch file is locked for as long as it writes. The kernel lifts the lock however the process ends, so
that a later command can tell what a killed process left from what a living one is writing.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

#: Values are whatever JSON holds, so files that have no type of their own are dictionaries to Any.
Record = dict[str, Any]
#: Files below this size are read each time that their digest is asked for; of larger ones it is remembered.
SMALL = 2**20
SCRATCH = re.compile(r"\..+\.[0-9a-f]{8}")
#: File systems that know no locks: nothing is ever taken for abandoned there.
LOCKLESS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield where to write what shall stand at ``path``, and put it there in one step; after an error nothing changes.

    A reader finds the file as it was before or whole, also after a power cut: the content and the entry in its folder
    are on the disk when this ends. Each writer has a place of its own, so that of several, also on several machines,
    the last one's file stays, and none takes away what another is writing.
    """
    with scratch_beside(path) as scratch:
        yield scratch
        to_disk(scratch)
        scratch.replace(path)
        to_disk(path.parent)


@contextmanager
def scratch_beside(path: Path) -> Iterator[Path]:
    """Yield an empty file beside ``path`` that no ``remove_abandoned`` takes away; it is gone in the end."""
    make_folder(path.parent)
    scratch, held = _locked_scratch(path)
    try:
        yield scratch
    finally:
        scratch.unlink(missing_ok=True)
        os.close(held)


def _locked_scratch(path: Path) -> tuple[Path, int]:
    while True:
        scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        held = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        _lock(held)
        if os.fstat(held).st_nlink > 0:  # nobody took it for abandoned before the lock was held
            return scratch, held
        os.close(held)


def remove_abandoned(folder: Path) -> None:
    """Remove the scratch files in a folder whose writers are dead."""
    for entry in os.scandir(folder):
        if SCRATCH.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
            _remove_if_abandoned(Path(entry.path))


def _remove_if_abandoned(scratch: Path) -> None:
    try:
        descriptor = os.open(scratch, os.O_RDWR)
    except FileNotFoundError:  # its writer was done in this moment
        return
    try:
        # The writer may have put the file in its place since: what is removed is the name, which is then gone.
        if _lock(descriptor):
            scratch.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock an open file for as long as it stays open; whether nobody else has it, and the file system can say so."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in LOCKLESS:
            return False
        raise
    return True


def make_folder(path: Path) -> None:
    """Make a folder and those above it, each on the disk when this ends."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(missing):
        to_disk(folder.parent)


def to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; of a large one it is read once as long as size and time stay.

    Raises:
        OSError: If it cannot be read.
    """
    about = path.stat()
    if about.st_size < SMALL:
        return _digest(path)
    return _remembered(path, about.st_ino, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=4096)
def _remembered(path: Path, inode: int, size: int, time: int) -> str:
    return _digest(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Record | None:
    """Return the file's dictionary, None if it is missing, damaged, or holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError, json.JSONDecodeError):
        return None
    return content if isinstance(content, dict) else None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write the whole file or nothing: a reader never sees half of it, also after a power cut."""
    with replacing(path) as scratch, scratch.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, default=str)
