"""Reading files, and writing them so that each is whole or missing, and on the disk before anything relies on it.

A file is first written under a temporary name, and that temporary file is locked while its writer lives. The kernel
releases the lock however the process ends. A later command can therefore tell what a killed process left behind from
what a living process is still writing.
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

#: A JSON object without a type of its own; its values may be anything that JSON can hold.
Record = dict[str, Any]
#: Files below this many bytes are read each time their digest is asked for; digests of larger files are remembered.
SMALL = 2**20
SCRATCH = re.compile(r"\..+\.[0-9a-f]{8}")
#: Errors of file systems that know no locks; there, no temporary file ever counts as abandoned.
LOCKLESS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, then put the file at ``path`` in one step; after an error nothing changes.

    A reader finds either the earlier file or the whole new one, even after a power cut: when the block ends, the
    content and the folder's entry for it are on the disk. Each writer has a temporary file of its own. If several write
    at once, on one machine or on several, the last one's file stays, and none removes what another is writing.
    """
    with scratch_beside(path) as scratch:
        yield scratch
        # The content first: after a power cut, the name must not stand for an empty file.
        to_disk(scratch)
        scratch.replace(path)
        to_disk(path.parent)


@contextmanager
def scratch_beside(path: Path) -> Iterator[Path]:
    """Yield an empty temporary file beside ``path`` that ``remove_abandoned`` leaves alone; remove it at the end."""
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
        if os.fstat(held).st_nlink > 0:  # else another process removed it as abandoned before it was locked
            return scratch, held
        os.close(held)


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files in a folder whose writers are no longer alive."""
    for entry in os.scandir(folder):
        if SCRATCH.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
            _remove_if_abandoned(Path(entry.path))


def _remove_if_abandoned(scratch: Path) -> None:
    try:
        descriptor = os.open(scratch, os.O_RDWR)
    except FileNotFoundError:  # its writer has just finished
        return
    try:
        # If the writer has meanwhile renamed the file to its final name, this temporary name no longer exists.
        if _lock(descriptor):
            scratch.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock an open file until it is closed, and return whether that worked.

    It does not work if another process holds the lock, or if the file system knows no locks.
    """
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
    """Make a folder and the missing ones above it; all of them are on the disk when this returns."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    # A new folder survives a power cut only if its entry in the folder above is on the disk too.
    for folder in reversed(missing):
        to_disk(folder.parent)


def to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's list of entries, is on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def digest(path: Path) -> str:
    """Return a file's SHA-256 digest in hexadecimal; a large file is read again only if its size or time has changed.

    Raises:
        OSError: If the file cannot be read.
    """
    about = path.stat()
    if about.st_size < SMALL:
        return _digest(path)
    return _remembered(path, about.st_ino, about.st_size, about.st_mtime_ns)


# The arguments after the path are part of the cache's key: when one of them changes, the file is read again.
@lru_cache(maxsize=4096)
def _remembered(path: Path, inode: int, size: int, time: int) -> str:
    return _digest(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Record | None:
    """Return the dictionary in a JSON file, or None if the file is missing, damaged, or holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError, json.JSONDecodeError):
        return None
    return content if isinstance(content, dict) else None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a dictionary as JSON in one step, so that no reader ever sees half of it, even after a power cut."""
    with replacing(path) as scratch, scratch.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, default=str)
