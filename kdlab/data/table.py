"""Anybody's table: numbers, dates, truth values and categories in a CSV, Parquet or JSON Lines file."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kdlab.data.augment import Augmentation
from kdlab.data.base import DataModule
from kdlab.data.paths import resolved
from kdlab.data.splitting import take
from kdlab.data.tabular.cells import Cells, TableFormat, read_cells
from kdlab.data.tabular.columns import Column, column_of
from kdlab.data.tabular.row_splits import RowSplits, names_of
from kdlab.data.tabular.suspicions import constant, identity, leak
from kdlab.data.tabular.target import class_numbers


class Table(DataModule):
    """A table: CSV with a header, Parquet, or JSON Lines (``.jsonl``, ``.ndjson``).

    All that is fitted is fitted on training rows and kept in ``preparation``. Numbers are standardised, dates are days
    since the training rows' first day, yes and no (true and false) are one input, other texts are categories with an
    input for each level. A missing number is the training median, and an input ``column=missing`` says so; a missing
    category is a level of its own. Columns of identities (all texts or whole numbers different) and columns that are
    constant in training are left out; ``remarks`` says which. ``feature_names`` are the columns' names,
    ``column=level`` for a level; ``class_names`` the target's texts, sorted (as numbers if they are). A column that
    mixes numbers and texts is refused unless named in ``categorical``.

    Args:
        path: The file; ``~`` and ``${VARIABLE}`` are expanded, a relative path is relative to the working directory.
        target: The column to predict.
        split: A column that says train, val (or validation) or test. Rows for val are drawn from train if it names
            none. None: all drawn at random, stratified, by ``split_seed``.
        fractions: Train, val and test shares where rows are drawn.
        test_path: A second file of the same columns that is the test split.
        group: A column that says whom a row belongs to (a patient, a customer): never in two splits.
        row_id: A column that names the rows, no two alike, such as a patient's number: not learned from.
        ignore: Columns to leave out.
        categorical: Columns to read as categories although they hold numbers, or look like identities.
        numbers: Columns of whole numbers that look like identities and are none.
        levels: Most levels of a category; the rarer ones are one level ``other``. >= 2.
        limit: If given, only so many rows are kept (stratified, over all splits), for small runs.
        delimiter: What separates the cells. None: told from the file.
        encoding: Of the text, such as ``latin-1``. None: told from the file.
        decimal: The sign before decimals. None: told from the file.
        thousands: The sign between thousands. None: told from the file.
        missing: What a missing value says, besides nothing, in small or capital letters.
        day_first: Whether 3/4/2020 is in April. None: told from the column.
        batch_size: Samples in a batch over all devices together.
        split_seed: Draws the split and the probe.
        augment: Changes training batches at random, for example ``Noise``.

    Raises:
        ValueError: In the constructor for fractions that do not add up to 1, both ``split`` and ``test_path``, or signs
            that are none. In ``setup`` with file and line, for a column that does not exist, a row of another length,
            a missing target, a column that mixes numbers and texts, a target with fractions.
        FileNotFoundError: In ``setup``, if the file is not there.
    """

    def __init__(
        self,
        path: str,
        target: str,
        split: str | None = None,
        fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
        test_path: str | None = None,
        group: str | None = None,
        row_id: str | None = None,
        ignore: Sequence[str] = (),
        categorical: Sequence[str] = (),
        numbers: Sequence[str] = (),
        levels: int = 50,
        limit: int | None = None,
        delimiter: str | None = None,
        encoding: str | None = None,
        decimal: str | None = None,
        thousands: str | None = None,
        missing: Sequence[str] = ("NA", "N/A", "#N/A", "nan", "null", "missing", "?", "-"),
        day_first: bool | None = None,
        batch_size: int = 64,
        split_seed: int = 0,
        augment: Augmentation | None = None,
    ) -> None:
        super().__init__(batch_size, split_seed, augment)
        if split is not None and test_path is not None:
            raise ValueError(
                f"split={split} and test_path={test_path} both say what the test rows are; give one of them"
            )
        if levels < 2 or (limit is not None and limit < 3):
            raise ValueError(f"levels must be at least 2 and limit at least 3, got {levels=}, {limit=}")
        self.path = path
        self.target = target
        self.split = split
        self.fractions = fractions
        self.test_path = test_path
        self.group = group
        self.row_id = row_id
        self.ignore = list(ignore)
        self.categorical = list(categorical)
        self.numbers = list(numbers)
        self.levels = levels
        self.limit = limit
        files = ("train",) if test_path is None else ("train", "test")
        self.rows = RowSplits(split, fractions, split_seed, group, limit, files)
        self.form = TableFormat(delimiter, encoding, decimal, thousands, list(missing), day_first)

    def load(self) -> dict[str, dict[str, Tensor]]:
        """Read, split, fit the preparation on the training rows, and prepare."""
        as_text = {self.target, *self.categorical, *filter(None, (self.split, self.group, self.row_id))}
        paths = [resolved(path) for path in (self.path, self.test_path) if path is not None]
        cells = read_cells(paths, self.form, as_text)
        self.remarks = list(cells.remarks)
        self._check_columns(cells)
        target, self.class_names = class_numbers(cells, self.target)
        rows, groups = self.rows(cells, target)
        features = self._features(cells, target, rows["train"])
        if not features:
            reasons = "; ".join(self.remarks) or f"{sorted(cells.columns)} are target or left out"
            raise ValueError(f"{cells.files[0][0].path} has no column left to learn from: {reasons}")
        encoded = [column.encoded(rows["train"], self.levels) for column in features]
        self.remarks += [remark for part in encoded for remark in part.remarks]
        columns = [column for part in encoded for column in part.columns]
        self.feature_names = [column.feature_name for column in columns]
        twice = sorted({name for name in self.feature_names if self.feature_names.count(name) > 1})
        if twice:
            raise ValueError(f"{paths[0]}: two inputs would be called {twice[0]!r}; rename a column")
        if self.row_id is not None:
            self.sample_names = names_of(cells, self.row_id, rows)
        tensors = {"inputs": torch.cat([part.values for part in encoded], dim=1), "target": target, **groups}
        return self.standardised({split: take(tensors, chosen) for split, chosen in rows.items()}, columns)

    def _check_columns(self, cells: Cells) -> None:
        columns_by_argument = {
            name: [column]
            for name, column in (
                ("target", self.target),
                ("split", self.split),
                ("group", self.group),
                ("row_id", self.row_id),
            )
            if column is not None
        }
        cells.require(
            columns_by_argument | {"ignore": self.ignore, "categorical": self.categorical, "numbers": self.numbers}
        )

    def _features(self, cells: Cells, target: Tensor, train: Tensor) -> list[Column]:
        """The columns to learn from; what is left out and what looks odd is said in ``remarks``."""
        left_out = {self.target, self.split, self.group, self.row_id, *self.ignore}
        features = []
        for name in cells.columns:
            if name in left_out:
                continue
            column = column_of(cells, name, name in self.categorical)
            same = constant(column, train)
            reason = None if name in (*self.categorical, *self.numbers) else identity(column)
            if same is not None:
                self.remarks.append(f"column {name!r} is left out: every training row says {same}")
            elif reason is not None:
                self.remarks.append(f"column {name!r} is left out: {reason}; categorical or numbers keeps it")
            else:
                features.append(column)
                reason = leak(column, target)
                if reason is not None:
                    self.remarks.append(f"column {name!r} may be the target itself: {reason}; ignore leaves it out")
        return features
