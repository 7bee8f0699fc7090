"""The columns of a table as numbers and levels, and how each becomes inputs once the training rows are known."""

import math
from dataclasses import dataclass, replace
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from kdlab.data.preparation import TableColumn
from kdlab.data.tabular.cells import Cells
from kdlab.data.tabular.dates import are_dates, days_of, days_of_texts
from kdlab.data.tabular.numbers import as_numbers

MISSING, OTHER = "missing", "other"
#: Pairs of words that are one truth value; the first of each is the true one.
TRUTHS = (("true", "false"), ("yes", "no"), ("t", "f"), ("y", "n"))


@dataclass(frozen=True)
class Encoded:
    """Inputs of one column: values (rows, inputs) float64, what each is, and what should be known, a line each."""

    values: Tensor
    columns: list[TableColumn]
    remarks: list[str]


@dataclass(frozen=True)
class NumberColumn:
    """Measurements (rows,), float64, NaN where missing; ``days`` since 1970 where they are dates."""

    name: str
    values: Tensor
    days: bool = False

    @property
    def keys(self) -> Tensor:
        """A number from 0 for each row, the same where values are the same; -1 where missing."""
        missing = self.values.isnan()
        _, keys = torch.unique(self.values.nan_to_num(0.0), return_inverse=True)
        return torch.where(missing, -1, keys)

    def at(self, rows: Tensor) -> "NumberColumn":
        """Return the column of these rows alone."""
        return replace(self, values=self.values[rows])

    def encoded(self, train: Tensor, most: int) -> Encoded:
        """Return the values, missing ones as the training rows' median, and an input that says which were.

        Args:
            train: The numbers of the training rows.
            most: Not needed by numbers.
        """
        missing = self.values.isnan()
        seen = self.values[train][~missing[train]]
        # The lower of two medians, which is a value of the column.
        values = self.values.where(~missing, seen.median())
        name = self.name
        if self.days:
            start = math.floor(float(seen.min()))
            values, name = values - start, f"{name} (days since {date(1970, 1, 1) + timedelta(days=start)})"
        if not missing.any():
            return Encoded(values[:, None], [TableColumn(name)], [])
        if not missing[train].any():
            remark = f"column {self.name!r} has values missing in no training row; elsewhere the training median stands"
            return Encoded(values[:, None], [TableColumn(name)], [remark])
        return Encoded(torch.stack((values, missing.double()), 1), [TableColumn(name), TableColumn(name, MISSING)], [])


@dataclass(frozen=True)
class LevelColumn:
    """Categories: the number (rows,) of each row's level, -1 where missing."""

    name: str
    codes: Tensor
    levels: list[str]

    @property
    def keys(self) -> Tensor:
        """A number from 0 for each row, the same where levels are the same; -1 where missing."""
        return self.codes

    def at(self, rows: Tensor) -> "LevelColumn":
        """Return the column of these rows alone."""
        return replace(self, codes=self.codes[rows])

    def encoded(self, train: Tensor, most: int) -> Encoded:
        """Return an input for each level that training rows have, 1 where a row has it and else 0.

        Missing is a level of its own. Of more than ``most`` levels, the rarer ones are one level together. Of yes and
        no there is one input.
        """
        counts = (self.codes[train] + 1).bincount(minlength=len(self.levels) + 1)
        seen = [code for code in range(len(self.levels)) if counts[code + 1]]
        truth = self._truth(seen) if not counts[0] else None
        if truth is not None:
            return Encoded((self.codes == truth).double()[:, None], [self._column(self.levels[truth])], self._new(seen))
        kept = sorted(
            sorted(seen, key=lambda code: (-int(counts[code + 1]), code))[: most if len(seen) <= most else most - 1]
        )
        names = [self.levels[code] for code in kept]
        place = torch.full((len(self.levels) + 1,), -1)
        place[torch.tensor(kept, dtype=torch.int64) + 1] = torch.arange(len(kept))
        remarks = self._new(seen)
        if len(kept) < len(seen):
            names.append(_unlike(OTHER, self.levels))
            place[1:][place[1:] < 0] = len(kept)
            share = float(1 - counts[torch.tensor(kept) + 1].sum() / counts.sum())
            remarks = [
                f"column {self.name!r} has {len(seen):,} different texts: the {len(kept)} most frequent are levels, the"
                f" others, {share:.0%} of the training rows, are one; levels says how many"
            ]
        if counts[0]:
            place[0] = len(names)
            names.append(_unlike(MISSING, names))
        place = place[self.codes + 1]
        values = torch.zeros(len(place), len(names), dtype=torch.float64)
        rows = (place >= 0).nonzero().flatten()
        values[rows, place[rows]] = 1.0
        return Encoded(values, [self._column(name) for name in names], remarks)

    def _column(self, level: str) -> TableColumn:
        return TableColumn(self.name, level)

    def _truth(self, seen: list[int]) -> int | None:
        """The level that is true where the training rows have a truth value's two words."""
        words = {self.levels[code].lower(): code for code in seen}
        return next((words[true] for true, false in TRUTHS if words.keys() == {true, false} and len(seen) == 2), None)

    def _new(self, seen: list[int]) -> list[str]:
        new = sorted(set(range(len(self.levels))) - set(seen))
        if not new:
            return []
        levels = [self.levels[code][:40] for code in new[:5]]
        return [f"column {self.name!r} has levels that no training row has, {levels}: where they stand, no level holds"]


Column = NumberColumn | LevelColumn


def column_of(cells: Cells, name: str, as_level: bool) -> Column:
    """Return a column as numbers where all its cells are numbers or dates, else as levels.

    Args:
        cells: The table.
        name: Of the column.
        as_level: Whether it is a category whatever its cells look like.

    Raises:
        ValueError: If most of the cells are numbers or dates, but not all, or a number is infinite.
    """
    column = cells.columns[name]
    kind = column.type
    if pa.types.is_time(kind):
        column = pc.cast(column, pa.string())
    if as_level or not (pa.types.is_string(column.type) or pa.types.is_boolean(kind) or pa.types.is_null(kind)):
        return levels_of(name, column) if as_level else _numbers(cells, name, column)
    if pa.types.is_string(column.type):
        numbers = _numbers_of_texts(cells, name, column)
        if numbers is not None:
            return numbers
    return levels_of(name, column)


def levels_of(name: str, column: pa.ChunkedArray) -> LevelColumn:
    """Return a column as levels in alphabetical order."""
    texts = pc.cast(column, pa.string())
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    encoded = texts.dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    levels = encoded.dictionary.to_pylist()
    order = sorted(range(len(levels)), key=levels.__getitem__)
    rank = torch.empty(len(levels) + 1, dtype=torch.int64)
    rank[0] = -1
    rank[torch.tensor(order, dtype=torch.int64) + 1] = torch.arange(len(levels))
    codes = torch.from_numpy(pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).copy()).long()
    return LevelColumn(name, rank[codes + 1], [levels[place] for place in order])


def _numbers(cells: Cells, name: str, column: pa.ChunkedArray) -> NumberColumn:
    days = pa.types.is_date(column.type) or pa.types.is_timestamp(column.type)
    values = _tensor(days_of(column) if days else pc.cast(column, pa.float64(), safe=False))
    infinite = values.isinf().nonzero().flatten()
    if len(infinite):
        raise ValueError(
            f"column {name!r} has {len(infinite)} infinite values, the first in {cells.place(int(infinite[0]))}; name"
            " how they are written in missing, or leave the column out with ignore"
        )
    return NumberColumn(name, values, days)


def _numbers_of_texts(cells: Cells, name: str, texts: pa.ChunkedArray) -> NumberColumn | None:
    present = len(texts) - texts.null_count
    numeric, numbers = as_numbers(texts, cells.signs)
    dated = are_dates(texts)
    for kind, fitting in (("numbers", numeric), ("dates", dated)):
        count = int(pc.sum(fitting).as_py() or 0)
        if present and count == present:
            days = days_of_texts(texts, name, cells.form.day_first) if kind == "dates" else numbers
            return NumberColumn(name, _tensor(days), kind == "dates")
        if count > present / 2:
            odd = pc.index(pc.or_kleene(fitting, pc.is_null(texts)), False).as_py()
            cell = texts[odd].as_py()[:40]
            raise ValueError(
                f"column {name!r} holds {kind} but for {present - count} cells, the first {cell!r} in"
                f" {cells.place(odd)}; correct them, name the text in missing or the column in categorical or ignore"
            )
    return None


def _tensor(column: pa.ChunkedArray) -> Tensor:
    return torch.from_numpy(pc.fill_null(column, math.nan).to_numpy().astype("float64"))


def _unlike(word: str, levels: list[str]) -> str:
    """The word, with a mark where a level is called so itself."""
    return word if word not in levels else f"({word})"
