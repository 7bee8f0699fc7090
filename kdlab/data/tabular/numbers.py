"""Numbers that are written with other signs than a point: decimal commas, and signs between thousands."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

#: Blanks that stand between thousands: plain, unbroken, narrow.
BLANKS = " \u00a0\u202f"


@dataclass(frozen=True)
class Signs:
    """The sign before decimals, and the one between thousands; "" where there is none."""

    decimal: str = "."
    thousands: str = ""

    @property
    def pattern(self) -> str:
        """The regular expression of a whole number or one with decimals, for Arrow and for Python."""
        sign = f"[{re.escape(self.thousands)}]"
        whole = rf"(\d+|\d{{1,3}}({sign}\d{{3}})+)" if self.thousands else r"\d+"
        decimal = re.escape(self.decimal)
        return rf"^[+-]?({whole}({decimal}\d*)?|{decimal}\d+)([eE][+-]?\d+)?$"

    def __str__(self) -> str:
        between = f" and {self.thousands[0]!r} between thousands" if self.thousands else ""
        return f"{self.decimal!r} before decimals{between}"


POINT = Signs()
COMMON = (
    POINT,
    Signs(".", ","),
    Signs(",", "."),
    Signs(".", BLANKS),
    Signs(",", BLANKS),
    Signs(".", "'"),
    Signs(",", "'"),
)


def signs_of(columns: Mapping[str, pa.ChunkedArray], decimal: str | None, thousands: str | None) -> Signs:
    """Return the signs by which most of the texts of a table are numbers.

    Args:
        columns: By name, with the decimal point read already.
        decimal: The sign before decimals; None: to be told.
        thousands: The sign between thousands; None: to be told.

    Raises:
        ValueError: If all numbers with a comma have three digits behind it, and nothing else in the table says which
            sign it is.
    """
    candidates = [
        Signs(*pair)
        for pair in dict.fromkeys(
            (signs.decimal if decimal is None else decimal, signs.thousands if thousands is None else thousands)
            for signs in COMMON
        )
        if pair[0] != pair[1]
    ]
    if len(candidates) == 1:
        return candidates[0]
    texts = {name: column.unique() for name, column in columns.items() if pa.types.is_string(column.type)}
    counts = {signs: sum(_count(column, signs) for column in texts.values()) for signs in candidates}
    best = [signs for signs in candidates if counts[signs] == max(counts.values())]
    points = any(pa.types.is_floating(column.type) for column in columns.values())
    comma = [signs for signs in best if signs.decimal == ","]
    if comma and best[0] == Signs(".", ",") and not points:
        name, cell = _first(texts, best[0])
        raise ValueError(
            f"column {name!r} holds {cell!r}, which may be {cell.replace(',', '.')} or {cell.replace(',', '')}; say"
            " decimal: ',' or thousands: ','"
        )
    return best[0]


def as_numbers(texts: pa.ChunkedArray, signs: Signs) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Return which texts are numbers, and the numbers, null where a text is none or missing."""
    numeric = pc.fill_null(pc.match_substring_regex(texts, signs.pattern), False)
    plain = pc.if_else(numeric, texts, None)
    if signs.thousands:
        plain = pc.replace_substring_regex(plain, f"[{re.escape(signs.thousands)}]", "")
    if signs.decimal != ".":
        plain = pc.replace_substring(plain, signs.decimal, ".")
    return numeric, pc.cast(pc.utf8_ltrim(plain, "+"), pa.float64())


def _count(texts: pa.ChunkedArray, signs: Signs) -> int:
    return int(pc.sum(pc.match_substring_regex(texts, signs.pattern)).as_py() or 0)


def _first(columns: Mapping[str, pa.ChunkedArray], signs: Signs) -> tuple[str, str]:
    """The first text with a sign in it that is a number, and its column."""
    cells: Iterable[tuple[str, str]] = (
        (name, text) for name, texts in columns.items() for text in texts.to_pylist() if text is not None
    )
    return next((name, text) for name, text in cells if "," in text and re.match(signs.pattern, text))
