"""Tables in long form: a row a step, and a column that says to which series it belongs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kdlab.data.tabular.cells import Cells
from kdlab.data.tabular.columns import NumberColumn, column_of, levels_of


@dataclass(frozen=True)
class LongForm:
    """The rows of each series, and what the series are called.

    Args:
        names: Of the series in ascending order, those of a first file before those of a second, which are called
            ``test/NAME`` where the first has one of that name.
        rows: Of the table, (series, steps), in the order of time.
        first: How many series the first file has.
    """

    names: list[str]
    rows: Tensor
    first: int

    @classmethod
    def of(cls, cells: Cells, series: str, time: str | None) -> "LongForm":
        """Return the series of a table.

        Args:
            cells: The table.
            series: The column that says which series a row belongs to; a name in two files is two series.
            time: The column of numbers or dates by which a series is ordered; None: as the rows stand.

        Raises:
            ValueError: If a cell is missing, one series has two rows of one time, or lengths differ.
        """
        level = levels_of(series, cells.complete(series))
        file = torch.repeat_interleave(torch.tensor([rows for _, rows in cells.files]))
        numbers, codes, counts = torch.unique(
            file * len(level.levels) + level.codes, return_inverse=True, return_counts=True
        )
        names = [level.levels[number % len(level.levels)] for number in numbers.tolist()]
        if len(set(counts.tolist())) > 1:
            short, long = int(counts.argmin()), int(counts.argmax())
            raise ValueError(
                f"{cells.files[0][0].path}: series have different lengths: {names[short]!r} is the shortest with"
                f" {int(counts[short])} steps, {names[long]!r} the longest with {int(counts[long])}; padding would be"
                " learned from like any other step: cut or resample them to one length"
            )
        order = torch.arange(cells.rows) if time is None else number_column(cells, time).values.argsort(stable=True)
        rows = order[codes[order].argsort(stable=True)].view(len(names), -1)
        if time is not None:
            _refuse_equal_times(cells, time, names, rows)
        first = int((numbers < len(level.levels)).sum())
        taken = set(names[:first])
        names[first:] = [f"test/{name}" if name in taken else name for name in names[first:]]
        return cls(names, rows, first)

    def one_a_series(self, name: str, keys: Tensor) -> Tensor:
        """Return the keys (series,) of a column that says the same in all rows of a series.

        Args:
            name: Of the column, for the message.
            keys: Of the table's rows, equal where cells are.

        Raises:
            ValueError: If it says two things of one series.
        """
        grid = keys[self.rows]
        torn = (grid != grid[:, :1]).any(dim=1).nonzero().flatten().tolist()
        if torn:
            raise ValueError(
                f"column {name!r} does not say the same in all rows of {len(torn)} series, the first"
                f" {self.names[torn[0]]!r}; it says something of a whole series, one value in all its rows"
            )
        return grid[:, 0]


def number_column(cells: Cells, name: str) -> NumberColumn:
    """Return a column of numbers or dates, each row with one.

    Raises:
        ValueError: If it holds texts, or a cell is missing.
    """
    column = column_of(cells, name, as_level=False)
    if not isinstance(column, NumberColumn):
        raise ValueError(f"{cells.files[0][0].path}: column {name!r} holds texts, no numbers; name it in ignore")
    missing = column.values.isnan()
    if missing.any():
        raise ValueError(
            f"column {name!r} has {int(missing.sum())} missing values, the first in"
            f" {cells.place(int(missing.nonzero()[0]))}; fill them, for nothing is filled within a series"
        )
    return column


def _refuse_equal_times(cells: Cells, time: str, names: list[str], rows: Tensor) -> None:
    times = number_column(cells, time).values[rows]
    equal = (times.diff(dim=1) == 0).nonzero()
    if len(equal):
        series, step = equal[0].tolist()
        raise ValueError(
            f"series {names[series]!r} has two rows of one {time}, the second in"
            f" {cells.place(int(rows[series, step + 1]))}; drop one, or leave out time to keep the rows' order"
        )
