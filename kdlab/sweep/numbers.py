"""How a sweep writes numbers for people."""

#: From here on a number is written as a power of ten: its digits can no longer be told apart.
HUGE = 1e15


def number(value: float, digits: int = 4) -> str:
    """Return a value with so many significant digits, and all of those before the point: ``21003``, not ``2.1e+04``."""
    written = f"{value:.{digits}g}"
    # Decided after rounding: 9999.96 has five digits before the point.
    return f"{value:.0f}" if 10**digits <= abs(float(written)) < HUGE else written


def setting(value: object) -> str:
    """Return the value of a searched setting."""
    return number(value) if isinstance(value, float) else str(value)
