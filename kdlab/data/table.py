"""Reading a table of texts and turning its columns into numbers."""

import csv
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kdlab.data.preparation import TableColumn

MOST_LEVELS = 100
NOT_FINITE = {"nan", "inf", "infinity"}


@dataclass
class Table:
    """Columns of cells, all text, and where each row stands, for messages."""

    file: Path
    columns: dict[str, list[str]]
    places: list[str]

    def followed_by(self, other: "Table") -> "Table":
        """Return the rows of both.

        Raises:
            ValueError: If they differ in their columns.
        """
        if self.columns.keys() != other.columns.keys():
            only = sorted(self.columns.keys() ^ other.columns.keys())
            raise ValueError(f"{self.file} and {other.file} differ in the columns {only[:10]}")
        joined = {name: cells + other.columns[name] for name, cells in self.columns.items()}
        return Table(self.file, joined, self.places + other.places)


def read_table(file: Path, delimiter: str) -> Table:
    """Read a CSV file with a header.

    Raises:
        ValueError: If the file is empty or not text, a name stands twice in the header, or a row has too few
            or too many cells.
    """
    try:
        # -sig: spreadsheets begin the file with a mark that would become part of the first name.
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, delimiter=delimiter)
            header = [name.strip() for name in next(reader, [])]
            rows, places = [], []
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise ValueError(
                        f"{file}, line {reader.line_num}: {len(row)} cells under a header of {len(header)}; the"
                        f" delimiter is {delimiter!r}"
                    )
                rows.append(row)
                places.append(f"{file}, line {reader.line_num}")
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} is not a CSV file in UTF-8: {error}") from error
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ValueError(f"{file} has the columns {twice} twice")
    if not rows:
        raise ValueError(f"{file} has no rows below its header")
    columns = {name: [row[place].strip() for row in rows] for place, name in enumerate(header)}
    return Table(file, columns, places)


def class_numbers(table: Table, column: str) -> tuple[Tensor, list[str]]:
    """Return the class number of each row, and the classes' names.

    Raises:
        ValueError: If a cell is missing, or the column holds measurements instead of classes.
    """
    cells = table.columns[column]
    _refuse_missing(table, column)
    names = sorted(set(cells))
    numbers = [number for number in map(_number, names) if number is not None]
    if len(numbers) == len(names):
        names = [name for _, name in sorted(zip(numbers, names, strict=True))]
        if not all(number.is_integer() for number in numbers):
            raise ValueError(
                f"target {column!r} holds fractional numbers; kdlab classifies (regression is not supported)"
            )
    if len(names) > max(MOST_LEVELS, len(cells) // 10):
        raise ValueError(
            f"target {column!r} has {len(names)} different values in {len(cells)} rows; these are no classes"
        )
    place = {name: number for number, name in enumerate(names)}
    return torch.tensor([place[cell] for cell in cells]), names


def encode(table: Table, columns: list[str], categorical: list[str]) -> tuple[Tensor, list[TableColumn]]:
    """Return inputs (rows, features) float64 and what each of the features is.

    Raises:
        ValueError: If a cell is missing or not finite, a column mixes numbers and texts, or has too many levels.
    """
    parts: list[Tensor] = []
    encoded: list[TableColumn] = []
    for column in columns:
        _refuse_missing(table, column)
        values = None if column in categorical else _numbers(table, column)
        if values is not None:
            parts.append(values[:, None])
            encoded.append(TableColumn(column))
        else:
            codes, levels = _levels(table, column)
            parts.append(torch.nn.functional.one_hot(codes, len(levels)).double())
            encoded += [TableColumn(column, level) for level in levels]
    return torch.cat(parts, dim=1), encoded


def _numbers(table: Table, column: str) -> Tensor | None:
    cells = table.columns[column]
    numbers = [_number(cell) for cell in cells]
    odd = [row for row, number in enumerate(numbers) if number is None]
    if odd and len(odd) < len(cells):
        raise ValueError(
            f"column {column!r} holds numbers but for {len(odd)} cells, the first {cells[odd[0]][:40]!r} in"
            f" {table.places[odd[0]]}; fill or drop those rows, or name the column in categorical"
        )
    return None if odd else torch.tensor(numbers, dtype=torch.float64)


def _levels(table: Table, column: str) -> tuple[Tensor, list[str]]:
    cells = table.columns[column]
    levels = sorted(set(cells))
    if len(levels) > MOST_LEVELS:
        raise ValueError(
            f"column {column!r} has {len(levels)} different texts, such as {levels[0][:40]!r}; at most"
            f" {MOST_LEVELS} are read as categories: leave it out with ignore"
        )
    place = {level: number for number, level in enumerate(levels)}
    return torch.tensor([place[cell] for cell in cells]), levels


def _refuse_missing(table: Table, column: str) -> None:
    cells = table.columns[column]
    rows = [row for row, cell in enumerate(cells) if not cell or cell.lower().lstrip("+-") in NOT_FINITE]
    if rows:
        raise ValueError(
            f"column {column!r} has {len(rows)} missing or infinite values, the first ({cells[rows[0]]!r}) in"
            f" {table.places[rows[0]]}; fill or drop those rows, or leave the column out with ignore"
        )


def _number(cell: str) -> float | None:
    try:
        # Python reads 1_0 as 10; in a table it is a code.
        return None if "_" in cell else float(cell)
    except ValueError:
        return None
