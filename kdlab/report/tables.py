"""The tables as plain cells, for every form in which they are shown."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

from kdlab.records.executions import Execution
from kdlab.records.files import read_json
from kdlab.report.columns import ACCURACY, MISSING, Column
from kdlab.report.findings import p_value, verdict
from kdlab.report.statistics import estimate
from kdlab.report.summary import MAJORITY, Summary

# The costs by their logged name: how each is headed, and how its numbers are written.
COSTS = {
    "cost/parameters": Column("", "Parameters", "", "", False, 1, None),
    "cost/flops": Column("", "FLOPs a prediction", "", "", False, 1, None),
    "cost/bytes": Column("", "Size (kB)", "", "", False, 1e-3, 1),
    "cost/latency_ms": Column("", "Prediction (ms)", "", "", False, 1, 3),
    "cost/explanation_ms": Column("", "Explanation (ms)", "", "", False, 1, 3),
    "cost/explained_ms": Column("", "Prediction and its explainer, one call (ms)", "", "", False, 1, 3),
    "cost/explanation_ratio": Column("", "Its explainer (predictions)", "", "", False, 1, 2),
    "cost/prediction_memory_bytes": Column("", "Memory of a prediction (MB)", "", "", False, 1e-6, 1),
    "cost/training_seconds": Column("", "Training (s)", "", "", False, 1, 1),
    "cost/training_memory_bytes": Column("", "Memory of the training (MB)", "", "", False, 1e-6, 1),
}
SECONDS = Column("", "Whole stage (s)", "", "", False, 1, 1)
WHOLE = Column("", "Steps", "", "", False, 1, None)
LONGEST = 120


def qualities(summary: Summary) -> Iterator[tuple[str, list[tuple[str, bool]]]]:
    """Yield the name of each stage with its cells: the text, and whether it is the best of its column.

    The first cell is the number of tested seeds. The last row stands for a model that always predicts the most frequent
    class, because an accuracy means nothing without it; it is left out where that class is not known.
    """
    for stage in summary.stages:
        cells = [(f"{stage.finished}", False)]
        cells += [(c.estimate(stage.estimate(c.key)), stage.name in summary.best(c)) for c in summary.columns]
        yield f"{stage.name} (teacher)" if stage.teaches and stage.name != "teacher" else stage.name, cells
    if summary.largest is not None:
        _, share = summary.largest
        shown = [c.number(share) if c is ACCURACY else MISSING for c in summary.columns]
        yield MAJORITY, [(cell, False) for cell in (MISSING, *shown)]


def comparison(summary: Summary) -> list[list[str]]:
    """Return rows of text: stage, quality, verdict, difference, interval, p, corrected p."""
    rows = []
    for stage in summary.compared:
        for column in summary.columns:
            difference = summary.differences.get((stage.name, column.key))
            if difference is None:
                continue
            gain = difference.estimate
            amount = f"{column.number(gain.mean, sign=True)}{column.unit_of_difference}"
            rows.append(
                [
                    stage.name,
                    column.title,
                    verdict(difference, column),
                    amount,
                    MISSING if gain.half is None else column.difference(gain),
                    p_value(difference.p),
                    p_value(difference.adjusted),
                ]
            )
    return rows


def costs(summary: Summary) -> tuple[list[str], list[list[str]]]:
    """Return the heading and the rows of what each stage costs."""
    measured = {key for stage in summary.stages for key in stage.values if key.startswith("cost/")}
    keys = [*(key for key in COSTS if key in measured), *sorted(measured - COSTS.keys())]
    columns = {
        key: COSTS.get(key, Column(key, key.removeprefix("cost/").replace("_", " "), "", "", False)) for key in keys
    }
    head = ["Stage", *(column.title for column in columns.values()), SECONDS.title, WHOLE.title, "Chosen epoch"]
    rows = []
    for stage in summary.stages:
        cells = [column.estimate(stage.estimate(key)) for key, column in columns.items()]
        done = [record for use in stage.uses if (record := use.folder.done) is not None]
        epochs = sorted({record.epoch for record in done})
        chosen = f"{epochs[0]}–{epochs[-1]}" if len(epochs) > 1 else "".join(map(str, epochs)) or MISSING
        seconds, steps = (estimate([record.seconds for record in done]), estimate([record.steps for record in done]))
        rows.append([stage.name, *cells, SECONDS.estimate(seconds), WHOLE.estimate(steps), chosen])
    return head, rows


def settings(summary: Summary) -> tuple[list[str], list[list[str]]]:
    """Return the heading and the rows of the parameters that are not the same in all stages."""
    parameters = {
        stage.name: {
            key.removeprefix(f"{stage.name}."): _shown(value)
            for key, value in ({} if stage.record is None else stage.record.parameters).items()
        }
        for stage in summary.stages
    }
    names = list(dict.fromkeys(key for values in parameters.values() for key in values))
    rows = [[name, *(values.get(name, MISSING) for values in parameters.values())] for name in names]
    return ["Parameter", *parameters], [row for row in rows if len(set(row[1:])) > 1]


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def origin(execution: Execution) -> dict[str, str]:
    """Return where the numbers come from: execution, command, commit, machine, versions."""
    mlruns = execution.uses[0].folder.path.parent.parent if execution.uses else None
    tracked = (read_json(mlruns / "tracking" / f"{execution.id}.json") or {}) if mlruns is not None else {}
    # An older kdlab wrote command and machine into the execution.
    tags = tracked.get("tags", {}) | execution.provenance
    started, ended = _time(execution.started), _time(execution.ended)
    facts = {"Execution": execution.id, "Status": execution.status.lower()}
    facts["Started"] = f"{started:%Y-%m-%d %H:%M} UTC" if started else "not recorded"
    if started and ended:
        facts["Took"] = f"{(ended - started).total_seconds():.0f} s"
    for key in ("command", "commit", "machine"):
        facts[key.capitalize()] = str(tags.get(key, "not recorded"))
    versions = {key.removeprefix("version."): value for key, value in tags.items() if key.startswith("version.")}
    facts["Versions"] = ", ".join(f"{name} {value}" for name, value in versions.items()) or "not recorded"
    facts["Seeds"] = ", ".join(str(seed) for seed in sorted({use.seed for use in execution.uses})) or MISSING
    reused = sum(use.reused for use in execution.uses)
    facts["Trained"] = f"{len(execution.uses) - reused} stage runs, {reused} more reused from earlier executions"
    facts["Evaluation"] = execution.evaluation or "not recorded"
    return facts


def _time(value: float | str | None) -> datetime | None:
    """Return a time that is written as milliseconds since 1970 or as an ISO date."""
    if value is None:
        return None
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return datetime.fromtimestamp(value / 1000, UTC)
