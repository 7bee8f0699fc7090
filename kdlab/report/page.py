"""The report as one HTML page that needs nothing else."""

from kdlab.report.columns import ACCURACY
from kdlab.report.figures import learning_curves, pictures, trade_offs
from kdlab.report.findings import findings, notes
from kdlab.report.markup import Markup, element, table
from kdlab.report.style import STYLE
from kdlab.report.summary import Summary
from kdlab.report.tables import comparison, costs, origin, qualities, settings


def page(summary: Summary) -> str:
    """Return the whole document."""
    execution = summary.execution
    title = f"{execution.experiment}: teacher, students, explanations"
    head = [
        element("meta", charset="utf-8"),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(STYLE)),
    ]
    body = element("main", *_top(summary), *_sections(summary))
    document = element("html", element("head", *head), element("body", body), lang="en")
    return f"<!doctype html>\n{document}\n"


def _top(summary: Summary) -> list[Markup]:
    said = [element("li", line) for line in findings(summary)]
    facts = origin(summary.execution)
    line = " · ".join(facts[key] for key in ("Execution", "Status", "Started", "Took") if key in facts)
    return [
        element("h1", summary.execution.experiment),
        element("p", line, class_="quiet"),
        _headline(summary),
        *(element("p", note, class_="quiet") for note in notes(summary)),
        _legend(summary),
        element("h2", "What the numbers say"),
        element("ul", *said),
    ]


def _headline(summary: Summary) -> Markup:
    rows = []
    for name, cells in qualities(summary):
        shown = [element("b", cell) if best else cell for cell, best in cells]
        rows.append([name, *shown])
    return table(["Stage", "Seeds", *(column.heading for column in summary.columns)], rows, class_="numbers")


def _legend(summary: Summary) -> Markup:
    terms = [element("div", element("dt", c.title), element("dd", c.meaning)) for c in summary.columns]
    return element("details", element("summary", "What the columns mean"), element("dl", *terms))


def _sections(summary: Summary) -> list[Markup]:
    parts: list[Markup] = []
    if summary.baseline is not None and summary.differences:
        head = ["Stage", "Quality", "Verdict", "Difference", "95 % interval", "p", "p (Holm)"]
        parts += [
            _h(f"Against {summary.baseline.name}, paired by seed"),
            table(head, comparison(summary), class_="numbers"),
        ]
    parts += [_h(f"{ACCURACY.title}, fidelity and faithfulness"), trade_offs(summary)]
    parts += [_h("Learning curves"), element("p", _CURVES, class_="quiet"), learning_curves(summary)]
    parts += [_h("Attributions"), pictures(summary), *_texts(summary)]
    parts += [_h("Cost"), table(*costs(summary), class_="numbers")]
    head, rows = settings(summary)
    parts += [_h("Settings that differ"), table(head, rows) if rows else element("p", "None is recorded.")]
    given = [[key, element("code", value)] for key, value in origin(summary.execution).items()]
    return [*parts, _h("How to reproduce"), table(["", ""], given, class_="origin")]


_CURVES = "Mean over seeds; the band goes from the lowest to the highest seed."


def _h(text: str) -> Markup:
    return element("h2", text)


def _texts(summary: Summary) -> list[Markup]:
    """Return trees and rules of each stage's first seed."""
    found = []
    for stage in summary.stages:
        path = stage.uses[0].folder.path / "explainer.txt"
        if path.exists():
            text = path.read_text(encoding="utf-8", errors="replace")
            heading = element("summary", f"{stage.name}, seed {stage.uses[0].seed}: what its explainer says")
            found.append(element("details", heading, element("pre", text), open="open"))
    return found
