"""The cells of one file or several, as Arrow's columns of trimmed texts, numbers, truth values and dates."""

import codecs
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from kdlab.data.tabular.delimited import DelimitedFile
from kdlab.data.tabular.json_lines import JsonLinesFile
from kdlab.data.tabular.numbers import POINT, Signs, as_numbers, signs_of
from kdlab.data.tabular.parquet import ParquetFile

Columns = dict[str, pa.ChunkedArray]
TableFile = DelimitedFile | JsonLinesFile | ParquetFile


@dataclass(frozen=True)
class TableFormat:
    """How tables are written; what is None is told from the file.

    Raises:
        ValueError: If a sign is no sign, or no such encoding exists.
    """

    delimiter: str | None = None
    encoding: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    missing: Sequence[str] = ()
    day_first: bool | None = None

    def __post_init__(self) -> None:
        for name, sign in (("delimiter", self.delimiter), ("decimal", self.decimal)):
            if sign is not None and (len(sign) != 1 or not sign.isascii()):
                raise ValueError(f"{name} must be one plain character, got {sign!r}; leave it out to have it told")
        if self.decimal is not None and self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}")
        try:
            codecs.lookup(self.encoding or "utf-8")
        except LookupError as error:
            raise ValueError(f"{error}; some are utf-8, utf-16, latin-1 and cp1252") from error

    @property
    def spellings(self) -> list[str]:
        """The words for a missing value as they may be written."""
        forms = [(word, word.lower(), word.upper(), word.capitalize()) for word in self.missing]
        return list(dict.fromkeys(form for word in forms for form in word))


@dataclass(frozen=True)
class Cells:
    """Columns of equal length, and where each row stands.

    Args:
        columns: By name; texts are trimmed, missing cells null.
        files: The files in the order of their rows, and how many each has.
        signs: How texts that are numbers are written.
        form: How the files were said to be written.
        remarks: What was told from the files and should be known, a line each.
    """

    columns: Columns
    files: tuple[tuple[TableFile, int], ...]
    signs: Signs
    form: TableFormat
    remarks: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(rows for _, rows in self.files)

    def place(self, row: int) -> str:
        """Return file and line of a row."""
        for file, rows in self.files:
            if row < rows:
                return file.place(row)
            row -= rows
        raise IndexError(f"no row {row}")

    def missing(self, name: str) -> Collection[int]:
        """Return the rows without a value in a column, ascending."""
        null = pc.is_null(self.columns[name], nan_is_null=True)
        rows: list[int] = pc.indices_nonzero(null).to_pylist()
        return rows

    def require(self, columns_by_argument: Mapping[str, Sequence[str]]) -> None:
        """Refuse names of columns that are none; the message says by which argument they were named.

        Raises:
            ValueError: If there is one.
        """
        for argument, columns in columns_by_argument.items():
            for column in columns:
                if column not in self.columns:
                    raise ValueError(
                        f"{self.files[0][0].path} has no column {column!r} ({argument}); it has"
                        f" {list(self.columns)[:30]}"
                    )

    def complete(self, name: str) -> pa.ChunkedArray:
        """Return a column in which no cell is missing.

        Raises:
            ValueError: If one is.
        """
        column = self.columns[name]
        missing = pc.is_null(column)
        count = pc.sum(missing).as_py()
        if count:
            raise ValueError(
                f"column {name!r} has {count} missing values, the first in"
                f" {self.place(pc.index(missing, True).as_py())}; fill or drop those rows, or say in missing what is"
                f" none (now {list(self.form.missing)})"
            )
        return column


def read_cells(paths: Sequence[Path], form: TableFormat, as_text: Collection[str]) -> Cells:
    """Read CSV, Parquet or JSON Lines files of the same columns, one below the other.

    Args:
        paths: The files.
        form: How they are written.
        as_text: Columns that stay as they are written, where they are.

    Raises:
        ValueError: If a file cannot be read, or they differ in their columns.
    """
    files = [_opened(path, form) for path in paths]
    parts = [_trimmed(file.read(form.decimal or ".", form.spellings, as_text), form) for file in files]
    columns = _joined(files, parts)
    numeric = {name: column for name, column in columns.items() if name not in as_text}
    signs = signs_of(numeric, form.decimal, form.thousands)
    if signs.decimal != (form.decimal or "."):
        other = [_trimmed(file.read(signs.decimal, form.spellings, as_text), form) for file in files]
        columns |= {name: column for name, column in _joined(files, other).items() if _numeric(column, signs)}
    rows = tuple((file, len(next(iter(part.values())))) for file, part in zip(files, parts, strict=True))
    cells = Cells(columns, rows, signs, form)
    cells.remarks.extend(_remarks_on_encoding(files, form))
    if signs != POINT and form.decimal is None:
        cells.remarks.append(f"numbers are read with {signs}; decimal and thousands say otherwise")
    return cells


def _opened(path: Path, form: TableFormat) -> TableFile:
    if ParquetFile.is_at(path):
        return ParquetFile(path)
    if JsonLinesFile.is_at(path):
        return JsonLinesFile.opened(path, form.encoding)
    return DelimitedFile.opened(path, form.encoding, form.delimiter)


def _numeric(column: pa.ChunkedArray, signs: Signs) -> bool:
    """Whether all that is there are numbers."""
    if pa.types.is_string(column.type):
        return bool(pc.sum(as_numbers(column, signs)[0]).as_py() == len(column) - column.null_count)
    return bool(pa.types.is_integer(column.type) or pa.types.is_floating(column.type))


def _remarks_on_encoding(files: Sequence[TableFile], form: TableFormat) -> list[str]:
    return [
        f"{file.path} is no UTF-8 and read as {file.encoding}; encoding says otherwise"
        for file in files
        if not isinstance(file, ParquetFile) and form.encoding is None and not file.encoding.startswith("utf-8")
    ]


def _trimmed(columns: Columns, form: TableFormat) -> Columns:
    words = pa.array([word.lower() for word in ("", *form.missing)])

    def trimmed(column: pa.ChunkedArray) -> pa.ChunkedArray:
        if not pa.types.is_string(column.type):
            return column
        texts = pc.utf8_trim_whitespace(column)
        return pc.if_else(pc.is_in(pc.utf8_lower(texts), words), None, texts)

    return {name: trimmed(column) for name, column in columns.items()}


def _joined(files: Sequence[TableFile], parts: Sequence[Columns]) -> Columns:
    first = parts[0]
    for file, other in zip(files[1:], parts[1:], strict=True):
        if first.keys() != other.keys():
            only = sorted(first.keys() ^ other.keys())
            raise ValueError(f"{files[0].path} and {file.path} differ in the columns {only[:10]}")
    return {name: _one_below_the_other([part[name] for part in parts]) for name in first}


def _one_below_the_other(parts: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    try:
        tables = [pa.table({"column": part}) for part in parts]
        return pa.concat_tables(tables, promote_options="permissive").column(0).combine_chunks()
    except pa.ArrowInvalid:
        # Numbers in one file and texts in the other are texts.
        return pa.chunked_array([chunk for part in parts for chunk in part.cast(pa.string()).chunks])
