"""Charts as inline SVG, drawn by matplotlib: sharp at any size, in the page's own colours, light and dark."""

import io
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

WIDTH, HEIGHT = 460, 290
#: Variables of the style sheet. matplotlib draws with a placeholder for each, because it knows no variables.
VARIABLES = ("c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "ink", "quiet", "line", "paper")
PLACEHOLDERS = {name: f"#abcde{number:x}" for number, name in enumerate(VARIABLES)}
COLOURS = 8
# A curve below another one is seen through the gaps of the upper one.
DASHES = ("solid", "solid", "solid", "dashed", "dotted", "solid", "dashed", "dotted")
# A label with more characters is cut.
LONGEST = 26
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # the browser writes the text
    "svg.hashsalt": "kdlab",  # the same chart has the same bytes
    "font.size": 12,
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib; the style sheet sets the reader's own
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.spines.bottom": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": PLACEHOLDERS["line"],
    "text.color": PLACEHOLDERS["ink"],
    "axes.labelcolor": PLACEHOLDERS["quiet"],
    "xtick.color": PLACEHOLDERS["line"],
    "ytick.color": PLACEHOLDERS["line"],
    "xtick.labelcolor": PLACEHOLDERS["quiet"],
    "ytick.labelcolor": PLACEHOLDERS["quiet"],
    "ytick.major.size": 0,
}


def colour(number: int) -> str:
    """Return the colour of a stage by its number; after the last colour the first one follows again."""
    return PLACEHOLDERS[f"c{number % COLOURS}"]


def ticks(
    values: Sequence[float], whole: bool = False, ends: tuple[float, float] = (-math.inf, math.inf)
) -> list[float]:
    """Return a few round numbers as the ticks of an axis; all values lie between the first and the last.

    Args:
        values: What is to be shown.
        whole: Whether the ticks are whole numbers.
        ends: The lowest and the highest value that is possible, such as 0 and 100 %; both have to be round numbers.
    """
    low, high = min(values), max(values)
    # Equal values need some room around them, or the axis would have no length.
    if high - low < 1e-12 * max(1.0, abs(high)):
        room = 1.0 if whole else max(abs(high) * 0.05, 1e-3)
        low, high = max(low - room, ends[0]), min(high + room, ends[1])
    return [float(tick) for tick in MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=whole).tick_values(low, high)]


def chart(
    x_title: str, y_title: str, x_ticks: Sequence[float], y_ticks: Sequence[float], draw: Callable[[Axes], None]
) -> Markup:
    """Return a drawing as SVG.

    Args:
        x_title: The text below the horizontal axis.
        y_title: What the vertical axis shows, for readers who cannot see the chart.
        x_ticks: Where the horizontal axis has ticks; it begins and ends with them.
        y_ticks: The same for the vertical axis.
        draw: Draws on the axes.
    """
    written = io.StringIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # matplotlib measures with its own font, but the browser writes with fonts that have more letters.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
        axes = figure.add_axes((0.126, 0.159, 0.844, 0.793))  # fixed room for numbers and a title
        axes.set(xlabel=x_title, xticks=x_ticks, yticks=y_ticks)
        axes.set(xlim=(x_ticks[0], x_ticks[-1]), ylim=(y_ticks[0], y_ticks[-1]))
        draw(axes)
        # Without a date and a version, the same chart has the same bytes.
        figure.savefig(written, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    opening = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{} over {}">')
    drawing = re.sub(r"^.*?<svg[^>]*>", "", written.getvalue(), flags=re.DOTALL)
    drawing = re.sub(r"#abcde([0-9a-b])", lambda match: f"var(--{VARIABLES[int(match[1], 16)]})", drawing)
    return opening.format(WIDTH, HEIGHT, y_title, x_title) + Markup(drawing)  # noqa: S704 matplotlib escapes its texts


def label(axes: Axes, names: Mapping[tuple[float, float], str]) -> None:
    """Write a name beside each point, where there is room and neither another name nor a point.

    Args:
        axes: Where the points have been drawn.
        names: The name of each point, by the point's coordinates. A long name is cut.
    """
    taken = [Bbox.from_bounds(x - 9, y - 9, 18, 18) for x, y in axes.transData.transform(list(names))]
    for place, name in names.items():
        text = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
        note = axes.annotate(text, place, (0, 0), textcoords="offset points", weight="bold", parse_math=False)
        for height, (side, shift) in product((4, -16, 20, -32), (("left", 9), ("right", -9))):
            note.set(position=(shift, height), horizontalalignment=side)
            box = note.get_window_extent()
            if box.x1 < axes.bbox.x1 + 9 and not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)
