"""Dates as numbers: days since 1970, with the time of day behind the point."""

import pyarrow as pa
import pyarrow.compute as pc

TIME = r"(?:[ T](?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?)?$"
YEAR_FIRST = r"^(?P<year>\d{4})[-/.](?P<first>\d{1,2})[-/.](?P<second_part>\d{1,2})" + TIME
YEAR_LAST = r"^(?P<first>\d{1,2})[-/.](?P<second_part>\d{1,2})[-/.](?P<year>\d{4})" + TIME
DAY = 86_400


def days_of(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the days since 1970 of Arrow's dates and times of a date."""
    seconds = pc.cast(pc.cast(column, pa.timestamp("us")), pa.int64())
    return pc.divide(pc.cast(seconds, pa.float64()), DAY * 1e6)


def are_dates(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return which texts look like a date in numbers, such as 31.12.2020, 12/31/2020 or 2020/12/31 10:30."""
    matches = pc.or_(pc.match_substring_regex(texts, YEAR_FIRST), pc.match_substring_regex(texts, YEAR_LAST))
    return pc.fill_null(matches, False)


def days_of_texts(texts: pa.ChunkedArray, name: str, day_first: bool | None) -> pa.ChunkedArray:
    """Return the days since 1970 of texts that all look like dates.

    Args:
        texts: Null where missing.
        name: The column's, for the message.
        day_first: Whether 3/4/2020 is in April; None: told by a number above 12.

    Raises:
        ValueError: If day and month can be told apart nowhere, some begin with the year and others end with it, or one
            is no day of the calendar.
    """
    begins = pc.match_substring_regex(texts, YEAR_FIRST)
    first_year = bool(pc.all(begins).as_py())
    if not first_year and bool(pc.any(begins).as_py()):
        raise ValueError(
            f"column {name!r} holds dates that begin with the year and others that end with it; write all one way, or"
            " name the column in categorical or ignore"
        )
    parts = pc.extract_regex(texts, YEAR_FIRST if first_year else YEAR_LAST)
    year, first, second = (pc.struct_field(parts, part) for part in ("year", "first", "second_part"))
    if first_year:
        month, day = first, second
    else:
        if day_first is None:
            day_first = _day_is_first(texts, name, first, second)
        day, month = (first, second) if day_first else (second, first)
    padded = (pc.utf8_lpad(part, width, "0") for part, width in ((year, 4), (month, 2), (day, 2)))
    try:
        days = pc.cast(pc.cast(pc.binary_join_element_wise(*padded, "-"), pa.date32()), pa.int32())
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"column {name!r} holds dates, but one that no calendar has ({error}); correct it, or name the column in"
            " categorical or ignore"
        ) from error
    hour, minute, seconds = (_whole(pc.struct_field(parts, part)) for part in ("hour", "minute", "second"))
    time = pc.add(pc.add(pc.multiply(hour, 3600), pc.multiply(minute, 60)), seconds)
    return pc.add(pc.cast(days, pa.float64()), pc.divide(pc.cast(time, pa.float64()), float(DAY)))


def _day_is_first(texts: pa.ChunkedArray, name: str, first: pa.ChunkedArray, second: pa.ChunkedArray) -> bool:
    highest = [pc.max(_whole(part)).as_py() for part in (first, second)]
    if max(highest) <= 12 and not bool(pc.all(pc.match_substring(texts, ".")).as_py()):
        example = pc.drop_null(texts)[0].as_py()
        raise ValueError(f"column {name!r} holds {example}, which may begin with the day or the month; say day_first")
    # With points between its numbers, a date begins with the day wherever it is written so.
    return bool(highest[0] > 12 or highest[1] <= 12)


def _whole(part: pa.ChunkedArray) -> pa.ChunkedArray:
    """Digits as whole numbers, 0 where there are none."""
    return pc.cast(pc.if_else(pc.equal(part, ""), "0", part), pa.int64())
