"""Charts as inline SVG: sharp at any size, in the page's own colours, light and dark."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kdlab.report.markup import Markup, element

WIDTH, HEIGHT = 460.0, 290.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 14.0, 14.0, 46.0
COLOURS = 8
# Curves that lie upon each other are seen through each other's gaps.
DASHES = (None, None, None, "8 6", "2 4", None, "8 6", "2 4")
# Width of a letter and height of a line of a label, for keeping labels apart.
LETTER, LINE, LONGEST = 7.8, 15.0, 26


@dataclass(frozen=True)
class Axis:
    """A linear axis over round numbers."""

    low: float
    high: float
    ticks: Sequence[float]

    def share(self, value: float) -> float:
        """Return where a value lies, 0 at the low end, 1 at the high end."""
        return (value - self.low) / (self.high - self.low)


def axis(
    values: Sequence[float],
    count: int = 5,
    whole: bool = False,
    ends: tuple[float, float] = (-math.inf, math.inf),
) -> Axis:
    """Return an axis that holds the values, with about ``count`` ticks at 1, 2 or 5 times a power of ten.

    Args:
        values: What is to be shown.
        count: About how many ticks.
        whole: Whether ticks are whole numbers.
        ends: What no value can pass, such as 0 and 100 %; round numbers of the scale themselves.
    """
    low, high = min(values), max(values)
    if high - low < 1e-12 * max(1.0, abs(high)):
        room = 0.5 if whole else max(abs(high) * 0.05, 1e-3)
        low, high = max(low - room, ends[0]), min(high + room, ends[1])
    power = 10 ** math.floor(math.log10((high - low) / count))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * count >= (high - low) * 0.999)
    step = max(step, 1.0) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [number * step for number in range(first, last + 1)]
    return Axis(ticks[0], ticks[-1], ticks)


@dataclass
class Chart:
    """An empty chart with axes, to be drawn upon.

    Args:
        x: Horizontal axis.
        y: Vertical axis.
        x_title: Below the horizontal axis.
        y_title: Above the vertical axis, and the chart's name for readers who cannot see it.
    """

    x: Axis
    y: Axis
    x_title: str
    y_title: str
    parts: list[Markup] = field(default_factory=list)
    taken: list[tuple[float, float, float]] = field(default_factory=list)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return the position of a value pair on the page."""
        return (
            LEFT + self.x.share(x) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - self.y.share(y) * (HEIGHT - TOP - BOTTOM),
        )

    def line(self, points: Sequence[tuple[float, float]], colour: int) -> None:
        """Draw a curve."""
        path = " ".join("{:.1f},{:.1f}".format(*self.place(x, y)) for x, y in points)
        dash = DASHES[colour % len(DASHES)]
        self.parts.append(element("polyline", points=path, class_=f"curve c{colour % COLOURS}", stroke_dasharray=dash))

    def band(self, points: Sequence[tuple[float, float, float]], colour: int) -> None:
        """Fill between a low and a high curve: (x, low, high)."""
        there = [self.place(x, high) for x, _, high in points]
        back = [self.place(x, low) for x, low, _ in reversed(points)]
        path = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in [*there, *back]) + "Z"
        self.parts.append(element("path", d=path, class_=f"band c{colour % COLOURS}"))

    def dot(self, x: float, y: float, colour: int, large: bool = False) -> None:
        """Draw a point."""
        across, down = self.place(x, y)
        kind = "mean" if large else "seed"
        self.parts.append(
            element("circle", cx=across, cy=down, r=6.5 if large else 3, class_=f"{kind} c{colour % COLOURS}")
        )

    def whiskers(
        self, x: tuple[float, float], y: tuple[float, float], middle: tuple[float, float], colour: int
    ) -> None:
        """Draw an interval in both directions through a point, which need not be its middle."""
        for start, end in (((x[0], middle[1]), (x[1], middle[1])), ((middle[0], y[0]), (middle[0], y[1]))):
            (x1, y1), (x2, y2) = self.place(*start), self.place(*end)
            self.parts.append(element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=f"whisker c{colour % COLOURS}"))

    def label(self, x: float, y: float, text: str) -> None:
        """Write beside a point, where there is room and no other label."""
        text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
        across, down = self.place(x, y)
        long = LETTER * len(text)
        left = across - 10 - long if across + 10 + long > WIDTH else across + 10
        heights = [down - 9 + LINE * step for step in (0, 2, -1, 3, -2, 4)]
        free = (height for height in heights if not self._is_taken(left, height, long) and height > TOP)
        height = next(free, heights[0])
        self.taken.append((left, height, long))
        self.parts.append(element("text", text, x=left, y=height, class_="label"))

    def _is_taken(self, left: float, height: float, long: float) -> bool:
        return any(
            abs(height - other) < LINE and left < start + length and start < left + long
            for start, other, length in self.taken
        )

    def svg(self) -> Markup:
        """Return the drawing."""
        parts: list[Markup] = []
        for tick, written in zip(self.y.ticks, _numbers(self.y.ticks), strict=True):
            across, down = self.place(self.x.low, tick)
            parts.append(element("line", x1=across, y1=down, x2=WIDTH - RIGHT, y2=down, class_="grid"))
            parts.append(element("text", written, x=across - 7, y=down + 4, text_anchor="end"))
        for tick, written in zip(self.x.ticks, _numbers(self.x.ticks), strict=True):
            across, down = self.place(tick, self.y.low)
            parts.append(element("line", x1=across, y1=down, x2=across, y2=down + 4, class_="grid"))
            parts.append(element("text", written, x=across, y=down + 18, text_anchor="middle"))
        title = element("text", self.x_title, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 6, text_anchor="middle")
        drawing = [*parts, title, *self.parts]
        view = f"0 0 {WIDTH:g} {HEIGHT:g}"
        return element("svg", *drawing, viewBox=view, role="img", aria_label=f"{self.y_title} over {self.x_title}")


def legend(names: Mapping[str, int]) -> Markup:
    """Return the colours of the stages."""
    entries = [element("span", element("i", class_=f"c{colour % COLOURS}"), name) for name, colour in names.items()]
    return element("p", *entries, class_="legend")


def framed(chart: Chart) -> Markup:
    """Return the chart under its title."""
    return element("figure", element("figcaption", chart.y_title), chart.svg())


def _numbers(ticks: Sequence[float]) -> list[str]:
    step = ticks[1] - ticks[0]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{tick:,.{digits}f}".replace(",", "\u202f").replace("-", "−") for tick in ticks]
