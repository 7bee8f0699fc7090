"""Files of cells with a sign between them: which it is, where each record stands, and the cells in Arrow's types."""

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
from pyarrow import csv as arrow

from kdlab.data.tabular.encoding import encoding_of, undecodable_line

DELIMITERS = (",", ";", "\t", "|", ":")
#: Records by which the delimiter is told.
SNIFFED = 100
#: A record must fit in a block; texts of a page and more do.
BLOCK = 2**24


@dataclass(frozen=True)
class DelimitedFile:
    """A CSV file, how its text is encoded and what stands between its cells; plain or compressed (``.gz``)."""

    path: Path
    encoding: str
    delimiter: str

    @classmethod
    def opened(cls, path: Path, encoding: str | None, delimiter: str | None) -> "DelimitedFile":
        """Return the file, with what is not given told from its content.

        Raises:
            ValueError: If it is empty, or no text in the encoding.
        """
        line = None if encoding is None else undecodable_line(path, encoding)
        if line is not None:
            raise ValueError(
                f"{path}, line {line}: bytes that are no text in {encoding}; leave encoding out to have it told"
            )
        encoding = encoding or encoding_of(path)
        candidates = [cls(path, encoding, sign) for sign in ([delimiter] if delimiter else DELIMITERS)]
        # The last is the best; of equals the first in the order of DELIMITERS.
        return max(candidates, key=lambda candidate: candidate._fit())

    def _fit(self) -> tuple[bool, float, int]:
        """How well the delimiter parts the file: into cells at all, as many in each record, and many."""
        widths = [len(record) for _, record in islice(self.records(), SNIFFED)]
        if not widths:
            raise ValueError(f"{self.path} is empty; a table has a header and rows")
        even = sum(width == widths[0] for width in widths) / len(widths)
        return widths[0] > 1, even, widths[0]

    def records(self, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
        """Yield the line where a record begins, from 1, and its cells; the header first, blank lines left out.

        Raises:
            ValueError: If a cell is larger than Python's csv reads; if strict, also if a quote is never closed.
        """
        with (
            pa.input_stream(str(self.path)) as stream,
            io.TextIOWrapper(stream, encoding=self.encoding, newline="") as text,
        ):
            # Python's own limit is below the length of a text of forty pages.
            csv.field_size_limit(BLOCK)
            reader = csv.reader(text, delimiter=self.delimiter, strict=strict)
            line = 1
            try:
                for record in reader:
                    if record:
                        yield line, record
                    line = reader.line_num + 1
            except csv.Error as error:
                raise ValueError(f"{self.path}, line {line}: {error}") from error

    def place(self, row: int) -> str:
        """Return where a row below the header stands: ``table.csv, line 12``."""
        line, _ = next(islice(self.records(), row + 1, None))
        return f"{self.path}, line {line}"

    def header(self) -> list[str]:
        """Return the names of the columns as they stand in the file.

        Raises:
            ValueError: If a name stands twice, or nothing below it.
        """
        records = [record for _, record in islice(self.records(), 2)]
        if len(records) < 2:
            raise ValueError(f"{self.path} has no rows below its header")
        names = [name.strip() for name in records[0]]
        twice = sorted({name for name in names if name and names.count(name) > 1})
        if twice:
            raise ValueError(f"{self.path} has the columns {twice[:10]} twice")
        return records[0]

    def read(self, decimal: str, missing: Sequence[str], as_text: Collection[str]) -> dict[str, pa.ChunkedArray]:
        """Return the columns by name, in Arrow's types; a column without a name is called by its number.

        Args:
            decimal: The sign before decimals.
            missing: What a missing cell says, besides nothing.
            as_text: Columns that stay as they are written.

        Raises:
            ValueError: If rows have other lengths than the header, or a quote is never closed.
        """
        header = self.header()
        self._refuse_open_quote()
        convert = arrow.ConvertOptions(
            column_types={name: pa.string() for name in header if name.strip() in as_text},
            null_values=["", *missing],
            strings_can_be_null=True,
            decimal_point=decimal,
        )
        try:
            table = arrow.read_csv(
                str(self.path),
                # A mark at the beginning is no part of the first name; Arrow looks for that of UTF-8 itself.
                arrow.ReadOptions(encoding=self.encoding.removesuffix("-sig"), block_size=BLOCK),
                arrow.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
                convert,
            )
        except pa.ArrowInvalid as error:
            raise ValueError(self._uneven(header) or f"{self.path}: {error}") from error
        names = [name.strip() or f"column {number}" for number, name in enumerate(header, 1)]
        return dict(zip(names, table.columns, strict=True))

    def _refuse_open_quote(self) -> None:
        with pa.input_stream(str(self.path)) as stream:
            quotes = 0
            while chunk := stream.read(BLOCK):
                quotes += chunk.count(b'"')
        if quotes % 2 == 0:
            return
        line = 1
        try:
            for line, _ in self.records(strict=True):  # noqa: B007  the last line that was whole
                pass
        except ValueError as error:
            if "unexpected end" in str(error):
                raise ValueError(
                    f"{self.path}, line {line + 1} or below: a quote is opened and never closed"
                ) from error

    def _uneven(self, header: Sequence[str]) -> str | None:
        """What is wrong with the first row that has not as many cells as the header."""
        for line, record in self.records():
            if len(record) != len(header):
                which = (
                    f"column {header[len(record)].strip()!r} is the first without a cell"
                    if len(record) < len(header)
                    else f"no column stands above {record[len(header)][:40]!r}"
                )
                return (
                    f"{self.path}, line {line}: {len(record)} cells under a header of {len(header)}, {which}; the"
                    f" delimiter is {self.delimiter!r}"
                )
        return None
