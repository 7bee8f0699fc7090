"""The columns of the tables: metric, heading, direction, and how a number is written."""

import math
from dataclasses import dataclass

from kdlab.report.statistics import Estimate

MISSING = "–"


@dataclass(frozen=True)
class Column:
    """One metric of the tables.

    Attributes:
        key: The metric's name, as logged.
        title: The heading.
        short: The heading where there is little room.
        meaning: One sentence for the legend.
        higher_is_better: True if a larger value is better.
        scale: Factor before printing; 100 for a share that is shown in percent.
        digits: Digits after the decimal point; None writes a whole number, with thin spaces between groups of three.
        unit: The unit of a value, printed in the heading; empty if there is none.
        quality: False for costs, which are not tested for differences.
        ends: The lowest and the highest possible value, as logged. An interval over seeds may reach beyond them.
    """

    key: str
    title: str
    short: str
    meaning: str
    higher_is_better: bool
    scale: float = 1.0
    digits: int | None = 3
    unit: str = ""
    quality: bool = True
    ends: tuple[float, float] = (-math.inf, math.inf)

    @property
    def heading(self) -> str:
        """The title with its unit and an arrow to the better side."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.title}{unit} {self.arrow}"

    @property
    def phrase(self) -> str:
        """The title as it stands within a sentence."""
        return self.title[0].lower() + self.title[1:]

    @property
    def arrow(self) -> str:
        """An arrow in the direction that is better."""
        return "↑" if self.higher_is_better else "↓"

    @property
    def unit_of_difference(self) -> str:
        """The unit as it is written after a difference, with a space before it; empty if there is none."""
        return " points" if self.unit == "%" else f" {self.unit}" if self.unit else ""

    def number(self, value: float, sign: bool = False) -> str:
        """Return a value as text, with a true minus sign; NaN becomes a dash.

        Args:
            value: The value, as logged.
            sign: Whether a positive value has a plus sign.
        """
        if math.isnan(value):
            return MISSING
        spec = ("+" if sign else "") + (",.0f" if self.digits is None else f".{self.digits}f")
        text = format(value * self.scale, spec)
        # A value that is rounded to zero has no minus sign.
        text = text.replace("-", "+" if sign else "") if not text.strip("+-0.") else text
        return text.replace("-", "−").replace(",", "\u202f")

    def estimate(self, found: Estimate) -> str:
        """Return mean ± half interval as text, or mean and both ends if the interval would pass an end of the scale.

        The mean stands alone if there is no interval, or if its width is zero but for rounding.
        """
        mean = self.number(found.mean)
        # The mean of equal values is rounded, so their spread can be as large as its last bit.
        if found.half is None or found.half <= 1e-12 * abs(found.mean):
            return mean
        if not self.is_cut(found):
            return f"{mean} ± {self.number(found.half)}"
        low, high = self.interval(found)
        return f"{mean} ({self._end(low)}–{self._end(high)})"

    def is_cut(self, found: Estimate) -> bool:
        """Return whether the interval would pass an end of the scale."""
        half = found.half or 0.0
        return found.mean - half < self.ends[0] or found.mean + half > self.ends[1]

    def interval(self, found: Estimate) -> tuple[float, float]:
        """Return both ends of the interval, as logged, cut where the scale ends.

        Both are the mean if there is no interval.
        """
        half = found.half or 0.0
        return max(found.mean - half, self.ends[0]), min(found.mean + half, self.ends[1])

    def difference(self, found: Estimate) -> str:
        """Return the interval of a difference as text; no difference can be larger than the whole scale."""
        half, span = found.half or 0.0, self.ends[1] - self.ends[0]
        low, high = max(found.mean - half, -span), min(found.mean + half, span)
        return f"{self.number(low, sign=True)} to {self.number(high, sign=True)}"

    def _end(self, value: float) -> str:
        return self.number(value) if value not in self.ends else f"{value * self.scale:g}".replace("-", "−")


DELETION_MEANING = (
    "Probability left while the inputs named most important are removed: low if they are what the model uses."
)
SHARE, COSINE = (0.0, 1.0), (-1.0, 1.0)
COLUMNS = (
    Column(
        "test/accuracy",
        "Accuracy",
        "Accuracy",
        "Share of test samples classified rightly.",
        True,
        100,
        1,
        "%",
        ends=SHARE,
    ),
    Column(
        "test/fidelity/agreement",
        "Fidelity to teacher",
        "Fidelity",
        "Share on which it gives the teacher’s class.",
        True,
        100,
        1,
        "%",
        ends=SHARE,
    ),
    Column("test/explanation/deletion_auc", "Deletion AUC", "Deletion", DELETION_MEANING, False, ends=SHARE),
    Column(
        "test/explanation/teacher_cosine",
        "Attribution agreement",
        "Attrib.",
        "Cosine between its attribution and the teacher’s: the same reasons?",
        True,
        ends=COSINE,
    ),
    Column(
        "test/explainer/agreement",
        "Fidelity of explainer",
        "Explainer",
        "Share on which the learned explainer gives its model’s class.",
        True,
        100,
        1,
        "%",
        ends=SHARE,
    ),
    Column("cost/parameters", "Parameters", "Params", "How many weights were trained.", False, 1, None, "", False),
    Column("cost/latency_ms", "Latency", "Latency", "Time of one prediction.", False, 1, 3, "ms", False),
)
ACCURACY, FIDELITY, DELETION = COLUMNS[0], COLUMNS[1], COLUMNS[2]
