"""Decision trees as text and as a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill, wrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A wider picture could not be looked at, nor drawn beyond 2^16 pixels.
WIDEST = 64
LEVELS = 5
# A line of a question, which has 1.7 inches, and of the title.
LETTERS, LETTERS_AN_INCH = 26, 12


@dataclass(frozen=True)
class Branch:
    """A question with two answers, or a leaf (``no`` and ``yes`` are None)."""

    label: str
    no: "Branch | None" = None
    yes: "Branch | None" = None

    @property
    def is_leaf(self) -> bool:
        """Whether nothing is asked here."""
        return self.no is None or self.yes is None

    def depth(self) -> int:
        """Return the number of questions on the longest path."""
        if self.no is None or self.yes is None:
            return 0
        return 1 + max(self.no.depth(), self.yes.depth())

    def leaves(self) -> int:
        """Return the number of leaves."""
        if self.no is None or self.yes is None:
            return 1
        return self.no.leaves() + self.yes.leaves()

    def lines(self) -> int:
        """Return the most lines that a label takes in the picture."""
        own = len(wrap(self.label, LETTERS))
        return own if self.no is None or self.yes is None else max(own, self.no.lines(), self.yes.lines())

    def cut(self, levels: int) -> "Branch":
        """Return the tree with this many levels of questions; what hangs below is counted."""
        if self.no is None or self.yes is None:
            return self
        if levels == 0:
            return Branch(f"{self.leaves()} leaves")
        return Branch(self.label, self.no.cut(levels - 1), self.yes.cut(levels - 1))


def as_text(branch: Branch, indent: str = "") -> str:
    """Return nested ``if … / else`` lines, one question or leaf a line."""
    if branch.no is None or branch.yes is None:
        return f"{indent}{branch.label}\n"
    deeper = indent + "    "
    return f"{indent}if {branch.label}:\n{as_text(branch.yes, deeper)}{indent}else:\n{as_text(branch.no, deeper)}"


def as_figure(root: Branch, title: str) -> "Figure":
    """Draw the tree from the top down, the answer yes to the left; of more than 64 leaves the first five levels."""
    # The figure class and not pyplot, which would keep it open and choose a display.
    from matplotlib.figure import Figure

    root = root if root.leaves() <= WIDEST else root.cut(LEVELS)
    leaves, depth = root.leaves(), root.depth()
    width, lines = max(4.0, 1.7 * leaves), root.lines()
    figure = Figure(figsize=(width, 1.6 + (1.0 + 0.15 * lines) * depth + 0.15 * lines), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_title(fill(title, int(LETTERS_AN_INCH * width)), fontsize=9)
    axes.set_xlim(-0.6, leaves - 0.4)
    axes.set_ylim(-depth - 0.4, 0.4)
    free = iter(range(leaves))

    def place(branch: Branch, level: int) -> float:
        if branch.no is None or branch.yes is None:
            across = float(next(free))
        else:
            below = [(place(branch.yes, level + 1), "yes"), (place(branch.no, level + 1), "no")]
            across = (below[0][0] + below[1][0]) / 2
            for end, answer in below:
                axes.plot([across, end], [-level, -level - 1], color="0.6", zorder=1)
                axes.text((across + end) / 2, -level - 0.5, answer, fontsize=7, color="0.3", ha="center")
        box = {"boxstyle": "round", "facecolor": "#dff0d8" if branch.is_leaf else "#eef3fb", "edgecolor": "0.6"}
        # Names come from data, so a dollar sign is no mathematics.
        axes.text(
            across,
            -level,
            fill(branch.label, LETTERS),
            fontsize=7,
            ha="center",
            va="center",
            bbox=box,
            parse_math=False,
        )
        return across

    place(root, 0)
    return figure


def named(names: Sequence[str] | None, count: int, word: str) -> list[str]:
    """Return the names given, or ``word 0``, ``word 1`` and so on.

    Raises:
        ValueError: If there are names, but not as many as things.
    """
    if names is None:
        return [f"{word} {number}" for number in range(count)]
    if len(names) != count:
        raise ValueError(f"{len(names)} names were given for {count} of '{word}'")
    return list(names)
