"""JSON Lines: an object a line, whose keys are the columns."""

import io
import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from kdlab.data.tabular.encoding import encoding_of, undecodable_line

#: JSON may write a character in two halves.
HALF = re.compile("[\ud800-\udfff]")
ENDINGS = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")


@dataclass(frozen=True)
class JsonLinesFile:
    """A file that ends as JSON Lines do, and how its text is encoded; plain or compressed (``.gz``)."""

    path: Path
    encoding: str

    @staticmethod
    def is_at(path: Path) -> bool:
        """Return whether a file is called as JSON Lines are."""
        return path.name.lower().endswith(ENDINGS)

    @classmethod
    def opened(cls, path: Path, encoding: str | None) -> "JsonLinesFile":
        """Return the file, its encoding told from its content where it is not given.

        Raises:
            ValueError: If it is no text in the encoding.
        """
        line = None if encoding is None else undecodable_line(path, encoding)
        if line is not None:
            raise ValueError(
                f"{path}, line {line}: bytes that are no text in {encoding}; leave encoding out to have it told"
            )
        return cls(path, encoding or encoding_of(path))

    def place(self, row: int) -> str:
        """Return where a row stands: ``table.jsonl, line 12``, counted from 1."""
        return f"{self.path}, line {list(self._lines())[row][0]}"

    def read(self, decimal: str, missing: Sequence[str], as_text: Collection[str]) -> dict[str, pa.ChunkedArray]:
        """Return the columns by name: numbers, truth values and texts; the arguments are those of a CSV file.

        A key that a line lacks is missing there. A column of several kinds is read as texts, and so is one of lists
        or objects, each as it is written.

        Raises:
            ValueError: If a line holds no object, there is none, or a list or object stands where a text must.
        """
        rows = [self._object(line, text) for line, text in self._lines()]
        if not rows:
            raise ValueError(f"{self.path} has no rows")
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {}
        for name in names:
            values = [row.get(name) for row in rows]
            if name in as_text:
                self._refuse_nested(name, values)
            columns[name.strip()] = pa.chunked_array([_array(values, name in as_text)])
        return columns

    def _lines(self) -> Iterator[tuple[int, str]]:
        """The number of each line that is not blank, from 1, and what it says."""
        with (
            pa.input_stream(str(self.path)) as stream,
            io.TextIOWrapper(stream, encoding=self.encoding) as text,
        ):
            for number, line in enumerate(text, 1):
                if line.strip():
                    yield number, line

    def _object(self, line: int, text: str) -> dict[str, Any]:
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{self.path}, line {line}: no JSON: {error.msg} at character {error.pos + 1}") from error
        if not isinstance(row, dict) or not row:
            raise ValueError(f"{self.path}, line {line}: {text.strip()[:40]} is no object with keys, which are columns")
        half = HALF.search(json.dumps(row, ensure_ascii=False))
        if half is not None:
            raise ValueError(
                f"{self.path}, line {line}: {half[0]!r} is one half of a character; its other half is cut off"
            )
        return row

    def _refuse_nested(self, name: str, values: Sequence[object]) -> None:
        for row, value in enumerate(values):
            if isinstance(value, list | dict):
                kind = "a list" if isinstance(value, list) else "an object"
                raise ValueError(f"{self.place(row)}: column {name!r} holds {kind}, not one value a row")


def _array(values: Sequence[object], as_text: bool) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if not as_text and (kinds <= {int, float} or kinds == {bool}):
        return pa.array(values, type=pa.float64() if float in kinds else None)
    texts = [value if isinstance(value, str | None) else json.dumps(value, ensure_ascii=False) for value in values]
    return pa.array(texts, type=pa.string())
