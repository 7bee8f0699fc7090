"""One NPZ file: what its arrays are, told from their headers, and each array when somebody asks for it."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Values = np.ndarray[tuple[int, ...], np.dtype[Any]]
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
#: What reading a damaged zip file, or a damaged array in it, raises.
DAMAGES = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError)


@dataclass(frozen=True)
class Header:
    """Shape and type of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


@dataclass(frozen=True)
class NpzFile:
    """A file as ``numpy.savez`` writes it; nothing in it is ever unpickled."""

    path: Path
    headers: dict[str, Header]

    @classmethod
    def opened(cls, path: Path) -> "NpzFile":
        """Return the file with the headers of its arrays; their values are not read yet.

        Raises:
            ValueError: If it is no NPZ file, is cut short or damaged, or holds no array.
        """
        with path.open("rb") as stream:
            if stream.read(6) == b"\x93NUMPY":
                raise ValueError(f"{path} is a single array (.npy); store inputs and target in one file by numpy.savez")
        try:
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith(".npy")]
                headers = {name.removesuffix(".npy"): _header(archive, name) for name in names}
        except DAMAGES as error:
            raise ValueError(
                f"{path} is no NPZ file, or is cut short or damaged: {error}; numpy.savez writes one"
            ) from error
        if not headers:
            raise ValueError(f"{path} holds no arrays; numpy.savez(FILE, x=…, y=…) stores some")
        return cls(path, headers)

    def read(self, name: str) -> Values:
        """Return an array.

        Raises:
            ValueError: If it holds Python objects, or is damaged.
        """
        if self.headers[name].dtype.hasobject:
            raise ValueError(
                f"{self.path}: array {name!r} holds pickled Python objects, which can run code when they are read and"
                " are refused; store it as numbers or texts (numpy.array(values.tolist()))"
            )
        try:
            # Opened here, because numpy leaves a damaged file open.
            with self.path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                values: Values = arrays[name]
        except DAMAGES as error:
            raise ValueError(f"{self.path}: array {name!r} is damaged: {error}") from error
        return values


def _header(archive: zipfile.ZipFile, name: str) -> Header:
    with archive.open(name) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in HEADERS:
            raise ValueError(f"{name} has version {version} of the format, of records with names")
        shape, _, dtype = HEADERS[version](stream)
    return Header(shape, dtype)
