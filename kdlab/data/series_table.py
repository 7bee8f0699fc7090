"""Anybody's series in a table of long form: a row a step, in a CSV or Parquet file."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kdlab.data.augment import Augmentation
from kdlab.data.base import DataModule
from kdlab.data.paths import resolved
from kdlab.data.splitting import sizes_of, take
from kdlab.data.tabular.cells import Cells, TableFormat, read_cells
from kdlab.data.tabular.columns import levels_of
from kdlab.data.tabular.long_form import LongForm, number_column
from kdlab.data.tabular.rows import completed, limited, named, refuse_shared_groups
from kdlab.data.tabular.target import class_numbers


class SeriesTable(DataModule):
    """Series of one length, (channels, steps): each row of the table is a step, each column of numbers a channel.

    Channels are standardised by the training split; ``feature_names`` are theirs, and samples are called as the column
    ``series`` says. Only the order of the steps counts, not how far they lie apart. Series of different lengths are
    refused: a padded step would be learned from and explained like any other.

    Args:
        path: The file; ``~`` and ``${VARIABLE}`` are expanded, a relative path is relative to the working directory.
        series: The column that says which series a row belongs to.
        target: The column to predict, the same in all rows of a series.
        time: A column of numbers or dates by which each series is ordered. None: as its rows stand.
        channels: Columns of numbers to learn from. Empty: all that are named nowhere else.
        ignore: Columns to leave out, where ``channels`` is empty.
        split: A column that says train, val (or validation) or test of each series. Those for val are drawn from train
            if it names none. None: all drawn at random, stratified, by ``split_seed``.
        fractions: Train, val and test shares where series are drawn.
        test_path: A second file of the same columns that is the test split.
        group: A column that says whom a series belongs to (a patient, a driver): never in two splits.
        limit: If given, only so many series are kept (stratified, over all splits), for small runs.
        delimiter, encoding, decimal, thousands, missing, day_first: As in Table.
        batch_size: Samples in a batch over all devices together.
        split_seed: Draws the split and the probe.
        augment: Changes training batches at random, for example ``Noise``.

    Raises:
        ValueError: In the constructor for fractions that do not add up to 1, or both ``split`` and ``test_path``. In
            ``setup``, for a column that does not exist, a missing cell, a channel of texts, lengths that differ, two
            rows of one time, or a column that says two things of one series.
        FileNotFoundError: In ``setup``, if the file is not there.
    """

    def __init__(
        self,
        path: str,
        series: str,
        target: str,
        time: str | None = None,
        channels: Sequence[str] = (),
        ignore: Sequence[str] = (),
        split: str | None = None,
        fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
        test_path: str | None = None,
        group: str | None = None,
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
        sizes_of(1, fractions)
        if split is not None and test_path is not None:
            raise ValueError(f"{split=} and {test_path=} both say what the test series are; give one of them")
        if limit is not None and limit < 3:
            raise ValueError(f"limit must be at least 3, got {limit}")
        self.path = path
        self.test_path = test_path
        self.series = series
        self.target = target
        self.time = time
        self.channels = list(channels)
        self.ignore = list(ignore)
        self.split = split
        self.group = group
        self.fractions = fractions
        self.limit = limit
        self.form = TableFormat(delimiter, encoding, decimal, thousands, list(missing), day_first)

    def load(self) -> dict[str, dict[str, Tensor]]:
        """Read, order, split, and standardise by the training series."""
        texts = {name for name in (self.series, self.target, self.split, self.group) if name is not None}
        paths = [resolved(path) for path in (self.path, self.test_path) if path is not None]
        cells = read_cells(paths, self.form, texts)
        self.remarks = list(cells.remarks)
        single = {"series": self.series, "target": self.target, "time": self.time}
        single |= {"split": self.split, "group": self.group}
        cells.require({argument: [column] for argument, column in single.items() if column is not None})
        cells.require({"channels": self.channels, "ignore": self.ignore})
        long = LongForm.of(cells, self.series, self.time)
        numbers, self.class_names = class_numbers(cells, self.target)
        target = long.one_a_series(self.target, numbers)
        used = {*texts, self.time, *self.ignore}
        self.feature_names = self.channels or [name for name in cells.columns if name not in used]
        if not self.feature_names:
            raise ValueError(f"{paths[0]} has no column left to learn from; it has {list(cells.columns)[:30]}")
        values = [number_column(cells, name).values[long.rows] for name in self.feature_names]
        rows, groups = self._rows_of_splits(cells, long, target)
        tensors = {"inputs": torch.stack(values, dim=1), "target": target, **groups}
        self.sample_names = {split: [long.names[row] for row in chosen.tolist()] for split, chosen in rows.items()}
        return self.standardised({split: take(tensors, chosen) for split, chosen in rows.items()})

    def _rows_of_splits(
        self, cells: Cells, long: LongForm, target: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The series of each split, and ``groups`` of all series where there are any."""
        groups, said = None, dict[str, Tensor]()
        if self.group is not None:
            groups, whom = _words(cells, long, self.group)
        if self.split is not None:
            codes, levels = _words(cells, long, self.split)
            said = named(f"column {self.split!r}", [levels[code] for code in codes.tolist()])
        elif self.test_path is not None:
            said = {"train": torch.arange(long.first), "test": torch.arange(long.first, len(long.names))}
        rows = completed(said, target, self.fractions, self.split_seed, groups)
        if self.group is not None and groups is not None:
            refuse_shared_groups(f"column {self.group!r}", whom, groups, rows)
        if self.limit is not None:
            rows = limited(rows, target, self.limit, self.split_seed)
        return rows, {} if groups is None else {"groups": groups}


def _words(cells: Cells, long: LongForm, name: str) -> tuple[Tensor, list[str]]:
    """What a column says of each series: its number (series,) among the texts that there are."""
    level = levels_of(name, cells.complete(name))
    return long.one_a_series(name, level.codes), level.levels
