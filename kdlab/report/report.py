"""The report of an execution: a page, a Markdown file, and a table for the terminal."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdlab.records.executions import Execution, executions, read_execution
from kdlab.records.files import replacing
from kdlab.report.columns import MISSING
from kdlab.report.findings import findings, notes
from kdlab.report.page import page
from kdlab.report.summary import Summary, summarise
from kdlab.report.tables import comparison, costs, origin, qualities, settings

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Report:
    """The files that were written, and what they say.

    Attributes:
        table: The table for the terminal.
        html: The path of the page.
        markdown: The path of the Markdown file, which has all but the pictures and charts.
        summary: The main table and the findings in Markdown, short enough for a description in MLflow.
        findings: The findings one by one.
    """

    table: "Table"
    html: Path
    markdown: Path
    summary: str
    findings: list[str]


def report(
    mlruns: Path, experiment: str | None = None, execution: str | None = None, out: Path | None = None
) -> Report:
    """Write ``report.html`` and ``report.md`` of an execution, and return what was written.

    Args:
        mlruns: The folder of the stages and executions.
        experiment: The name of the experiment whose newest execution is reported; None is the newest of all.
        execution: The id of the execution; None is the newest.
        out: The folder to write to; None is ``mlruns/reports/<experiment>/``.

    Raises:
        ValueError: If there is no such execution, or it has no stage.
    """
    current = _find(mlruns, experiment, execution)
    if not current.uses:
        raise ValueError(f"execution {current.id} has no stage to report on")
    summary = summarise(current)
    # An experiment may have a name that no folder can have, or that would lead out of `reports`.
    folder = out or mlruns / "reports" / (re.sub(r"[^\w.-]", "_", current.experiment).lstrip(".") or "_")
    folder.mkdir(parents=True, exist_ok=True)
    short = _short(summary)
    _write(folder / "report.html", page(summary))
    _write(folder / "report.md", _markdown(summary, short))
    return Report(_table(summary), folder / "report.html", folder / "report.md", short, findings(summary))


def _find(mlruns: Path, experiment: str | None, execution: str | None) -> Execution:
    if execution is not None:
        chosen = read_execution(mlruns, execution)
        if chosen is None:
            newest_ids = ", ".join(other.id for other in list(executions(mlruns, experiment))[:5]) or "none"
            raise ValueError(f"no execution {execution} in {mlruns}; the newest are: {newest_ids}")
        return chosen
    newest = next(executions(mlruns, experiment), None)
    if newest is None:
        of = f" of experiment {experiment}" if experiment else ""
        named = ", ".join(sorted({other.experiment for other in executions(mlruns)})) or "none; run one first"
        raise ValueError(f"no execution{of} in {mlruns}; experiments with executions: {named}")
    return newest


def _write(path: Path, text: str) -> None:
    with replacing(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def _table(summary: Summary) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    caption = "\n".join(notes(summary)[:3])
    shown = Table(
        title=Text(summary.execution.experiment), caption=Text(caption), box=SIMPLE_HEAD, padding=0, show_edge=False
    )
    shown.add_column("stage", overflow="fold", min_width=8)
    for column in summary.columns:
        shown.add_column(Text(f"{column.short}\n{column.unit} {column.arrow}".strip()), justify="right", no_wrap=True)
    for name, (seeds, *cells) in qualities(summary):
        # The mean stands above its interval, because eight columns have to fit into 80 characters.
        stacked = ((cell.replace(" ± ", "\n± ").replace(" (", "\n").rstrip(")"), best) for cell, best in cells)
        written = [Text(cell, style="bold green" if best else "") for cell, best in stacked]
        counted = "" if seeds[0] == MISSING else f"\n{seeds[0]} seed{'' if seeds[0] == '1' else 's'}"
        shown.add_row(Text(name) + Text(counted, style="dim"), *written)
    return shown


def _short(summary: Summary) -> str:
    head = ["stage", "seeds", *(column.heading for column in summary.columns)]
    rows = [[name, *(f"**{c}**" if best else c for c, best in _cells(cells))] for name, cells in qualities(summary)]
    said = [f"- {_plain(line)}" for line in findings(summary)]
    return "\n".join([*_rows(head, [[_plain(row[0]), *row[1:]] for row in rows]), "", *said])


def _cells(cells: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    return [(_plain(cell), best) for cell, best in cells]


def _markdown(summary: Summary, short: str) -> str:
    parts = [
        f"# {_plain(summary.execution.experiment)}",
        "",
        short,
        "",
        *(f"{_plain(note)}  " for note in notes(summary)),
    ]
    if summary.baseline is not None and summary.differences:
        head = ["stage", "quality", "verdict", "difference", "95 % interval", "p", "p (Holm)"]
        title = f"## Against {_plain(summary.baseline.name)}, paired by seed"
        parts += ["", title, "", *_rows(head, _plain_rows(comparison(summary)))]
    cost_head, cost_rows = costs(summary)
    parts += ["", "## Cost", "", *_rows(_plain_rows([cost_head])[0], _plain_rows(cost_rows))]
    head, rows = settings(summary)
    if rows:
        parts += ["", "## Settings that differ", "", *_rows(_plain_rows([head])[0], _plain_rows(rows))]
    facts = [[key, _plain(value)] for key, value in origin(summary.execution).items()]
    return "\n".join([*parts, "", "## How to reproduce", "", *_rows(["", ""], facts), ""])


def _rows(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _plain_rows(rows: list[list[str]]) -> list[list[str]]:
    return [[_plain(cell) for cell in row] for row in rows]


def _plain(text: str) -> str:
    """Return a text in such a form that Markdown shows it as it is."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
