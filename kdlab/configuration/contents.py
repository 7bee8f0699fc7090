"""Digests of the content of files and folders."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from kdlab.records.files import replacing

#: A file of fewer bytes is read each time: whoever replaced it may have kept its size and time.
SMALL = 64 * 2**20
#: Files and folders that other programs create by themselves.
_CLUTTER = {"__pycache__", ".ipynb_checkpoints", ".DS_Store", "Thumbs.db"}


class Contents:
    """Digests of files and folders. Each is computed once; a later change is seen by the next ``Contents``.

    Args:
        memory: a JSON file that remembers the digests of large files by path, size and times, only to save time; None
            remembers nothing. It may be deleted, and if it cannot be written, the files are read each time.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self.memory = memory
        self._digests: dict[Path, str] = {}

    def afresh(self) -> "Contents":
        """Return a new ``Contents`` with the same memory that has read nothing yet."""
        return Contents(self.memory)

    def of(self, path: Path) -> str:
        """Return the SHA-256 of a file, or of the names and contents of all files in a folder, in hex.

        Raises:
            OSError: If the file does not exist or cannot be read.
        """
        path = path.resolve()
        if path not in self._digests:
            self._digests[path] = self._of_folder(path) if path.is_dir() else self._of_file(path)
        return self._digests[path]

    def _of_folder(self, folder: Path) -> str:
        sha256 = hashlib.sha256()
        for path in _below(folder):
            held = "folder" if path.is_dir() else self._of_file(path)
            sha256.update(f"{path.relative_to(folder).as_posix()}\n{held}\n".encode())
        return sha256.hexdigest()

    def _of_file(self, file: Path) -> str:
        status = file.stat()
        if status.st_size < SMALL or self.memory is None:
            return _read(file)
        # The change time (ctime) is compared too, because a program can set the modification time.
        key, age = str(file), [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        remembered = _remembered(self.memory).get(key)
        if isinstance(remembered, list) and remembered[:-1] == age:
            return str(remembered[-1])
        digest = _read(file)
        # The memory is read again, because another process may have added digests in the meantime.
        with contextlib.suppress(OSError), replacing(self.memory) as scratch:
            scratch.write_text(json.dumps({**_remembered(self.memory), key: [*age, digest]}), encoding="utf-8")
        return digest


def _read(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _remembered(memory: Path) -> dict[str, object]:
    try:
        digests = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return digests if isinstance(digests, dict) else {}


def _below(folder: Path) -> Iterator[Path]:
    """Yield every folder and regular file below this folder, in the same order on every machine; links are followed."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        # Links may form a circle, so each folder is entered once.
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(set(folders) - _CLUTTER)
        seen.add(real)
        for name in sorted({*folders, *files} - _CLUTTER):
            path = Path(place, name)
            if path.is_dir() or path.is_file():
                yield path
