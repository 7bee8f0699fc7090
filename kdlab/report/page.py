"""The report as one HTML page that needs no other file."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass

from kdlab.report.curves import learning_curves
from kdlab.report.findings import findings, notes
from kdlab.report.rendering import render
from kdlab.report.summary import Summary
from kdlab.report.tables import comparison, costs, origin, qualities, settings
from kdlab.report.trade_offs import front, trade_offs

# The most bytes of pictures that a page carries inside itself, and the most pictures of one stage.
ROOM, PICTURES = 8_000_000, 12


@dataclass(frozen=True)
class Picture:
    """A picture of the page, or what is to be said where there is none.

    Attributes:
        text: The caption, or what is said instead of a picture.
        content: The PNG file in base64; None if there is no picture.
    """

    text: str
    content: str | None = None


def page(summary: Summary) -> str:
    """Return the report of an execution as one HTML document."""
    return render(
        "report.html",
        summary=summary,
        origin=origin(summary.execution),
        qualities=list(qualities(summary)),
        notes=notes(summary),
        findings=findings(summary),
        comparison=comparison(summary),
        trade_offs=list(trade_offs(summary)),
        front=front(summary),
        learning_curves=list(learning_curves(summary)),
        pictures=list(_pictures(summary)),
        explanations=list(_explanations(summary)),
        costs=costs(summary),
        settings=settings(summary),
    )


def _pictures(summary: Summary) -> Iterator[Picture]:
    """Yield the figures of each stage's first seed, and the reason for each that could not be made."""
    room, left_out = ROOM, False
    for stage in summary.stages:
        use = stage.uses[0]
        for path in use.folder.figures()[:PICTURES]:
            content = path.read_bytes()
            if len(content) > room:
                left_out = True
                continue
            room -= len(content)
            caption = f"{stage.name}, seed {use.seed}: {path.stem.replace('_', ' ')}"
            yield Picture(caption, base64.b64encode(content).decode())
        failed = (use.folder.shown(use.evaluation) or {}).get("failed", {})
        for name, reason in failed.items():
            yield Picture(f"{stage.name}, seed {use.seed}: {name} could not be made ({reason}).")
    if left_out:
        yield Picture("Further figures are in the stage folders: the page would grow too large.")


def _explanations(summary: Summary) -> Iterator[tuple[str, int, str]]:
    """Yield stage, seed and text of the explainer's trees or rules, for each stage's first seed."""
    for stage in summary.stages:
        use = stage.uses[0]
        path = use.folder.path / "explainer.txt"
        if path.exists():
            yield stage.name, use.seed, path.read_text(encoding="utf-8", errors="replace")
