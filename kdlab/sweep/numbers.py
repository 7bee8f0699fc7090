"""How a sweep writes numbers for people."""

#: From here on a number is written as a power of ten: its digits can no longer be told apart.
HUGE = 1e15


def number(value: float, digits: int = 4) -> str:
    """Return a value as text with ``digits`` significant digits, or more if more stand before the decimal point.

    With four digits 21003 becomes ``21003`` and not ``2.1e+04``. From ``HUGE`` on a value is a power of ten.
    """
    written = f"{value:.{digits}g}"
    # This is decided after rounding: 9999.96 becomes 10000, with five digits before the decimal point.
    return f"{value:.0f}" if 10**digits <= abs(float(written)) < HUGE else written


def setting(value: object) -> str:
    """Return the value of a searched setting as text; a float has four significant digits."""
    return number(value) if isinstance(value, float) else str(value)
