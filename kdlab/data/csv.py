"""Anybody's table: numbers and categories in a CSV file."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from kdlab.data.augment import Augmentation
from kdlab.data.base import DataModule
from kdlab.data.paths import resolved
from kdlab.data.seeding import generator_at
from kdlab.data.splitting import sizes_of, stratified_parts, take
from kdlab.data.table import Table, class_numbers, encode, read_table

SPLIT_WORDS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class Csv(DataModule):
    """A table with a header; numbers are standardised with the training split, categories become one-hot columns.

    A column in which every cell is a number is numeric, one without numbers is categorical; a column that mixes both is
    refused unless named in ``categorical``. Every text is a value, "none" and "NA" too; an empty cell and "nan" are
    missing, and missing values are refused. The levels of a category are those of the whole file. ``feature_names``
    are the columns' names, ``column=level`` for a category; ``class_names`` the target's texts, sorted (as numbers if
    they are).

    Args:
        path: The file; ``~`` and ``${VARIABLE}`` are expanded, a relative path is relative to the working directory.
        target: The column to predict.
        split: A column that says train, val (or validation) or test. Rows for val are drawn from train if it names
            none. None: all drawn at random, stratified, by ``split_seed``.
        fractions: Train, val and test shares where rows are drawn.
        test_path: A second file of the same columns that is the test split.
        ignore: Columns to leave out (identities, texts).
        categorical: Columns to read as categories although they hold numbers.
        delimiter: What separates the cells.
        batch_size: Samples in a batch over all devices together.
        split_seed: Draws the split and the probe.
        augment: Changes training batches at random, for example ``Noise``.

    Raises:
        ValueError: In the constructor for fractions that do not add up to 1, or both ``split`` and ``test_path``. In
            ``setup`` for a column that does not exist, a missing value, a category with more than 100 levels, a numeric
            target with fractions.
        FileNotFoundError: In ``setup``, if the file is not there.
    """

    def __init__(
        self,
        path: str,
        target: str,
        split: str | None = None,
        fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
        test_path: str | None = None,
        ignore: Sequence[str] = (),
        categorical: Sequence[str] = (),
        delimiter: str = ",",
        batch_size: int = 64,
        split_seed: int = 0,
        augment: Augmentation | None = None,
    ) -> None:
        super().__init__(batch_size, split_seed, augment)
        sizes_of(1, fractions)
        if split is not None and test_path is not None:
            raise ValueError(
                f"split={split} and test_path={test_path} both say what the test rows are; give one of them"
            )
        self.path = path
        self.target = target
        self.split = split
        self.fractions = fractions
        self.test_path = test_path
        self.ignore = list(ignore)
        self.categorical = list(categorical)
        self.delimiter = delimiter

    def load(self) -> dict[str, dict[str, Tensor]]:
        """Read, encode, split and standardise."""
        file = resolved(self.path)
        table = read_table(file, self.delimiter)
        known_rows = len(table.places)
        if self.test_path is not None:
            table = table.followed_by(read_table(resolved(self.test_path), self.delimiter))
        self._check_columns(file, table)
        target, self.class_names = class_numbers(table, self.target)
        left_out = {self.target, *self.ignore, *([self.split] if self.split else [])}
        features = [column for column in table.columns if column not in left_out]
        if not features:
            raise ValueError(f"{file} has no column left to learn from: {sorted(table.columns)} are target or left out")
        inputs, columns = encode(table, features, self.categorical)
        self.feature_names = [column.feature_name for column in columns]
        tensors = {"inputs": inputs, "target": target}
        rows = self._drawn(target, known_rows) if self.split is None else self._named(self.split, table, target)
        return self.standardised({split: take(tensors, chosen) for split, chosen in rows.items()}, columns)

    def _check_columns(self, file: Path, table: Table) -> None:
        columns_by_argument = {"target": [self.target], "split": [self.split] if self.split else []}
        columns_by_argument |= {"ignore": self.ignore, "categorical": self.categorical}
        for argument, columns in columns_by_argument.items():
            for column in columns:
                if column not in table.columns:
                    raise ValueError(f"{file} has no column {column!r} ({argument}); it has {list(table.columns)[:30]}")

    def _drawn(self, target: Tensor, known_rows: int) -> dict[str, Tensor]:
        draw = generator_at("split", self.split_seed)
        if self.test_path is None:
            parts = stratified_parts(target, sizes_of(len(target), self.fractions), draw)
            return dict(zip(("train", "val", "test"), parts, strict=True))
        return {**self._val_from(torch.arange(known_rows), target), "test": torch.arange(known_rows, len(target))}

    def _named(self, column: str, table: Table, target: Tensor) -> dict[str, Tensor]:
        words = table.columns[column]
        unknown = sorted({word for word in words if word.lower() not in SPLIT_WORDS})
        if unknown:
            raise ValueError(f"column {column!r} says {unknown[:5]}; it may say train, val and test")
        named = [SPLIT_WORDS[word.lower()] for word in words]
        rows = {
            split: torch.tensor([row for row, word in enumerate(named) if word == split], dtype=torch.int64)
            for split in ("train", "val", "test")
        }
        for split in ("train", "test"):
            if not len(rows[split]):
                raise ValueError(f"column {column!r} names no row {split}")
        return rows if len(rows["val"]) else {**rows, **self._val_from(rows["train"], target)}

    def _val_from(self, rows: Tensor, target: Tensor) -> dict[str, Tensor]:
        train, val, _ = self.fractions
        sizes = sizes_of(len(rows), (train / (train + val), val / (train + val)))
        first, second = stratified_parts(target[rows], sizes, generator_at("split", self.split_seed))
        return {"train": rows[first], "val": rows[second]}
