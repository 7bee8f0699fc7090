"""Digests of what files and folders hold."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from kdlab.records.files import replacing

#: Bytes below which a file is read each time: its size and time may have been kept by who replaced it.
SMALL = 64 * 2**20
#: What others put into folders by themselves.
_CLUTTER = {"__pycache__", ".ipynb_checkpoints", ".DS_Store", "Thumbs.db"}


class Contents:
    """Digests of files, each computed once; what changes meanwhile is seen by the next ``Contents``.

    Args:
        memory: a JSON file that remembers digests of large files by path, size and times, for speed alone; None
            remembers nothing. It may be deleted, and one that cannot be written is done without.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self.memory = memory
        self._digests: dict[Path, str] = {}

    def afresh(self) -> "Contents":
        """One that has looked at nothing yet."""
        return Contents(self.memory)

    def of(self, path: Path) -> str:
        """SHA-256 of a file, or of the names and contents of all files in a folder, in hex."""
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
        key, age = str(file), [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        remembered = _remembered(self.memory).get(key)
        if isinstance(remembered, list) and remembered[:-1] == age:
            return str(remembered[-1])
        digest = _read(file)
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
    """Every folder and plain file below, in one order on every machine; links are followed, each folder once."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(set(folders) - _CLUTTER)
        seen.add(real)
        for name in sorted({*folders, *files} - _CLUTTER):
            path = Path(place, name)
            if path.is_dir() or path.is_file():
                yield path
