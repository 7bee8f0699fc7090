"""Parquet files, whose columns have types already."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True)
class ParquetFile:
    """A file that begins with Parquet's four letters."""

    path: Path

    @staticmethod
    def is_at(path: Path) -> bool:
        """Return whether a file is a Parquet file."""
        with path.open("rb") as stream:
            return stream.read(4) == b"PAR1"

    def place(self, row: int) -> str:
        """Return where a row stands: ``table.parquet, row 12``, counted from 1."""
        return f"{self.path}, row {row + 1}"

    def read(self, decimal: str, missing: Sequence[str], as_text: Collection[str]) -> dict[str, pa.ChunkedArray]:
        """Return the columns by name: numbers, truth values, dates, and texts; the arguments are those of a CSV file.

        Raises:
            ValueError: If the file is damaged, has no rows, or a column holds lists or records.
        """
        try:
            table = pq.read_table(self.path)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{self.path} is a damaged Parquet file: {error}") from error
        if not table.num_rows:
            raise ValueError(f"{self.path} has no rows")
        return {name: self._plain(name, table.column(name), name in as_text) for name in table.column_names}

    def _plain(self, name: str, column: pa.ChunkedArray, as_text: bool) -> pa.ChunkedArray:
        kind = column.type
        if pa.types.is_nested(kind) and not pa.types.is_dictionary(kind):
            raise ValueError(
                f"{self.path}: column {name!r} holds {kind}, not one value a row; leave it out of the file"
            )
        if pa.types.is_dictionary(kind):
            column, kind = column.cast(kind.value_type), kind.value_type
        if pa.types.is_decimal(kind) or pa.types.is_float16(kind):
            column = column.cast(pa.float64())
        return column.cast(pa.string()) if as_text or pa.types.is_large_string(kind) else column
