"""The arrays of one NPZ file or several, the samples of all splits one below the other."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kdlab.data.arrays.labels import as_texts
from kdlab.data.arrays.npz_file import Header, NpzFile, Values
from kdlab.data.tabular.rows import SPLIT_WORDS

WORDS = "|".join(sorted(SPLIT_WORDS, key=len, reverse=True))
#: ``train_images``, ``x_test``: a split, and what the array holds.
NAMED_SPLIT = re.compile(rf"^(?:({WORDS})[_.\- /](.+)|(.+)[_.\- /]({WORDS}))$", re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    """Arrays of one split: those of a file, or those of its arrays that name the split.

    Args:
        split: Whose they are; None where all samples stand together.
        file: In which they are.
        own: The array's name in the file, by the name under which it is known.
    """

    split: str | None
    file: NpzFile
    own: dict[str, str]


@dataclass(frozen=True)
class Arrays:
    """Arrays by name, each over all parts; a name is one that every part has."""

    parts: tuple[Part, ...]

    @classmethod
    def opened(cls, path: Path, val_path: Path | None = None, test_path: Path | None = None) -> "Arrays":
        """Return the arrays of a file, or of a file for each split.

        Arrays of one file whose names begin or end with a split (``train_images``, ``x_test``) are the parts of one.

        Raises:
            ValueError: If a file cannot be read, or has a training but no test split.
        """
        file = NpzFile.opened(path)
        if test_path is None:
            return cls(_parts_by_name(file) or (Part(None, file, {name: name for name in file.headers}),))
        others = (("val", val_path), ("test", test_path))
        files = [("train", file), *((split, NpzFile.opened(other)) for split, other in others if other is not None)]
        return cls(tuple(Part(split, part, {name: name for name in part.headers}) for split, part in files))

    @property
    def path(self) -> Path:
        """The first file."""
        return self.parts[0].file.path

    @property
    def names(self) -> list[str]:
        """The names that every part has."""
        return [name for name in self.parts[0].own if all(name in part.own for part in self.parts)]

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that files or names of arrays say; none where all samples stand together."""
        return tuple(part.split for part in self.parts if part.split is not None)

    def header(self, name: str) -> Header:
        """Return shape and type of an array over all parts; those of the first part where they disagree."""
        headers = [part.file.headers[part.own[name]] for part in self.parts]
        length = sum(header.shape[0] if header.shape else 1 for header in headers)
        return Header((length, *headers[0].shape[1:]), headers[0].dtype) if headers[0].shape else headers[0]

    def called(self, name: str) -> str:
        """Return how a message speaks of an array: file, and the name that it has there."""
        names = dict.fromkeys(part.own[name] for part in self.parts)
        return f"{self.path}: array{'s' if len(names) > 1 else ''} {', '.join(map(repr, names))}"

    def listed(self) -> str:
        """Return names and shapes of all arrays."""
        shapes = [f"{name} {self.header(name)}" for name in self.names]
        return f"{', '.join(shapes) or 'none'}{', each for ' + ', '.join(self.splits) if self.splits else ''}"

    def require(self, name: str, argument: str) -> str:
        """Return the name.

        Raises:
            ValueError: If there is no such array, or not in every part.
        """
        if name not in self.names:
            raise ValueError(f"{self.path} has no array {name!r} ({argument}); it has {self.listed()}")
        return name

    def read(self, name: str, as_long_as: str | None = None) -> Values:
        """Return an array, its parts one below the other.

        Args:
            name: One that all parts have.
            as_long_as: An array that must have as many samples in every part.

        Raises:
            ValueError: If lengths differ, or parts differ in shape or type.
        """
        if as_long_as is not None:
            self._refuse_other_lengths(name, as_long_as)
        headers = [part.file.headers[part.own[name]] for part in self.parts]
        kinds = {(header.shape[1:], header.dtype if header.dtype.kind not in "US" else "text") for header in headers}
        if len(kinds) > 1:
            raise ValueError(f"{self.called(name)} differ from split to split: {', '.join(map(str, headers))}")
        return np.concatenate([np.atleast_1d(part.file.read(part.own[name])) for part in self.parts])

    def texts(self, words: Sequence[str]) -> tuple[str, list[str]] | None:
        """Return name and content of a list of texts in the first file that is called so, such as ``class_names``."""
        file = self.parts[0].file
        for name, header in file.headers.items():
            if name.lower() in words and len(header.shape) == 1 and header.dtype.kind in "US":
                return name, as_texts(f"{file.path}: array {name!r}", file.read(name)).tolist()
        return None

    def rows(self, name: str) -> dict[str, Tensor]:
        """Return the rows of each split that is said, of an array that has a row a sample."""
        ends = list(accumulate(part.file.headers[part.own[name]].shape[0] for part in self.parts))
        starts = [0, *ends[:-1]]
        return {
            part.split: torch.arange(start, end)
            for part, start, end in zip(self.parts, starts, ends, strict=True)
            if part.split is not None
        }

    def place(self, name: str, row: int) -> str:
        """Return where a row stands: ``sample 17``, ``sample 3 of test``, counted from 0."""
        for split, rows in self.rows(name).items():
            if row < len(rows):
                return f"sample {row} of {split}"
            row -= len(rows)
        return f"sample {row}"

    def _refuse_other_lengths(self, name: str, other: str) -> None:
        for part in self.parts:
            shapes = {own: part.file.headers[own].shape for own in (part.own[other], part.own[name])}
            if len({shape[:1] for shape in shapes.values()}) > 1:
                mismatched = " but ".join(f"array {own!r} has the shape {shape}" for own, shape in shapes.items())
                raise ValueError(f"{part.file.path}: {mismatched}; both need a row a sample")


def _parts_by_name(file: NpzFile) -> tuple[Part, ...]:
    """The parts that names of arrays say; none unless there are arrays for training and test."""
    own: dict[str, dict[str, str]] = {"train": {}, "val": {}, "test": {}}
    for name in file.headers:
        if match := NAMED_SPLIT.match(name):
            split, stem = SPLIT_WORDS[(match[1] or match[4]).lower()], match[2] or match[3]
            own[split].setdefault(stem, name)
    if not own["train"] or not (own["val"] or own["test"]):
        return ()
    if not own["test"]:
        raise ValueError(f"{file.path} has arrays for train and val but none for test: {', '.join(file.headers)}")
    return tuple(Part(split, file, names) for split, names in own.items() if names)
