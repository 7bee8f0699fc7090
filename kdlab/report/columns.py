"""What the tables show: metric, heading, direction and how a number is written."""

import math
from dataclasses import dataclass

from kdlab.report.statistics import Estimate

MISSING = "–"


@dataclass(frozen=True)
class Column:
    """One metric of the tables.

    Attributes:
        key: As logged.
        title: Heading.
        short: Heading where there is little room.
        meaning: One sentence for the legend.
        higher_is_better: Direction.
        scale: Factor before printing; 100 for a share shown in percent.
        digits: After the point; None writes a whole number with thin groups.
        unit: Of a value, printed in the heading.
        quality: False for costs, which are not tested for differences.
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

    @property
    def heading(self) -> str:
        """Title with unit and an arrow to the better side."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.title}{unit} {self.arrow}"

    @property
    def phrase(self) -> str:
        """Title as it stands within a sentence."""
        return self.title[0].lower() + self.title[1:]

    @property
    def arrow(self) -> str:
        """Which way is better."""
        return "↑" if self.higher_is_better else "↓"

    @property
    def unit_of_difference(self) -> str:
        """What stands behind a difference."""
        return " points" if self.unit == "%" else f" {self.unit}" if self.unit else ""

    def number(self, value: float, sign: bool = False) -> str:
        """Write a value, with a true minus sign."""
        if math.isnan(value):
            return MISSING
        spec = ("+" if sign else "") + (",.0f" if self.digits is None else f".{self.digits}f")
        return format(value * self.scale, spec).replace("-", "−").replace(",", "\u202f")

    def estimate(self, found: Estimate, sign: bool = False) -> str:
        """Write mean ± half interval, the mean alone where there is none or it is exactly zero."""
        mean = self.number(found.mean, sign)
        return mean if found.half is None or found.half == 0 else f"{mean} ± {self.number(found.half)}"


DELETION_MEANING = (
    "Probability left while the inputs named most important are removed: low if they are what the model uses."
)
COLUMNS = (
    Column("test/accuracy", "Accuracy", "Accuracy", "Share of test samples classified rightly.", True, 100, 1, "%"),
    Column(
        "test/fidelity/agreement",
        "Fidelity to teacher",
        "Fidelity",
        "Share on which it gives the teacher’s class.",
        True,
        100,
        1,
        "%",
    ),
    Column("test/explanation/deletion_auc", "Deletion AUC", "Deletion", DELETION_MEANING, False),
    Column(
        "test/explanation/teacher_cosine",
        "Attribution agreement",
        "Attrib.",
        "Cosine between its attribution and the teacher’s: the same reasons?",
        True,
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
    ),
    Column("cost/parameters", "Parameters", "Params", "Numbers that training set.", False, 1, None, "", False),
    Column("cost/latency_ms", "Latency", "Latency", "Time of one prediction.", False, 1, 3, "ms", False),
)
ACCURACY, FIDELITY, DELETION = COLUMNS[0], COLUMNS[1], COLUMNS[2]
