"""The report's charts: learning curves, the trade-offs, and the pictures that the stages left."""

import base64
import math
from collections.abc import Mapping

from kdlab.report.charts import Chart, axis, framed, legend
from kdlab.report.columns import ACCURACY, COSINE, DELETION, FIDELITY, SHARE, Column
from kdlab.report.markup import Markup, element, safe
from kdlab.report.statistics import Estimate, pareto
from kdlab.report.summary import Stage, Summary

CURVES = {
    "val/accuracy": "Accuracy on validation data ↑",
    "train/loss": "Training loss ↓",
    "val/fidelity/agreement": "Agreement with the teacher, validation ↑",
    "val/explanation/deletion_auc": "Deletion AUC, validation ↓",
    "val/explanation/teacher_cosine": "Attribution agreement with the teacher, validation ↑",
    "val/explainer/agreement": "Agreement of explainer and model, validation ↑",
}
# Where their axes end; a loss has no end.
ENDS = dict.fromkeys(CURVES, SHARE) | {
    "train/loss": (-math.inf, math.inf),
    "val/explanation/teacher_cosine": COSINE,
}
# Points of one curve; more cannot be told apart on a screen.
POINTS = 300
# Bytes of pictures that a page carries inside itself, and pictures a stage.
ROOM, PICTURES = 8_000_000, 12

Curve = list[tuple[float, float, float, float]]


def colours(summary: Summary) -> dict[str, int]:
    """Return the colour of each stage, the same in all charts."""
    return {stage.name: number for number, stage in enumerate(summary.stages)}


def learning_curves(summary: Summary) -> Markup:
    """Return one chart a metric, a curve a stage: mean over seeds, band from the lowest to the highest seed."""
    curves = {stage.name: _curves(stage) for stage in summary.stages}
    charts = []
    for key in CURVES:
        shown = {name: found[key] for name, found in curves.items() if found.get(key)}
        if any(len(curve) > 1 for curve in shown.values()):
            charts.append(_curve_chart(key, shown, colours(summary)))
    if not charts:
        return element("p", "No stage has logged more than one epoch.")
    return safe(legend(colours(summary)), element("div", *charts, class_="charts"))


def _curve_chart(key: str, shown: Mapping[str, Curve], colour: Mapping[str, int]) -> Markup:
    points = [point for curve in shown.values() for point in curve]
    heights = [height for _, _, low, high in points for height in (low, high)]
    chart = Chart(axis([point[0] for point in points], whole=True), axis(heights, ends=ENDS[key]), "epoch", CURVES[key])
    for name, curve in shown.items():
        chart.band([(x, low, high) for x, _, low, high in curve], colour[name])
    for name, curve in shown.items():
        chart.line([(x, mean) for x, mean, _, _ in curve], colour[name])
    return framed(chart)


def _curves(stage: Stage) -> dict[str, Curve]:
    """Return (epoch, mean, lowest, highest) over seeds by metric."""
    values: dict[str, dict[int, dict[int, float]]] = {}
    for use in stage.uses:
        for line in use.folder.points():
            for key in CURVES.keys() & line["metrics"].keys():
                value = line["metrics"][key]
                if value is not None and abs(value) < float("inf"):
                    values.setdefault(key, {}).setdefault(int(line["epoch"]), {})[use.seed] = value
    return {key: mean_curve(by_epoch) for key, by_epoch in values.items()}


def mean_curve(by_epoch: Mapping[int, Mapping[int, float]]) -> Curve:
    """Return the points at which no seed is missing that goes on: a mean of others would jump up and down there.

    Explanations are scored at a seed's chosen epoch too, which is another one for each seed.
    """
    ends: dict[int, int] = {}
    for epoch, values in by_epoch.items():
        ends |= {seed: max(epoch, ends.get(seed, epoch)) for seed in values}
    epochs = [e for e in sorted(by_epoch) if all(s in by_epoch[e] for s, end in ends.items() if end >= e)]
    kept = epochs[:: max(1, len(epochs) // POINTS)]
    found = [(epoch, list(by_epoch[epoch].values())) for epoch in kept]
    return [(epoch, sum(values) / len(values), min(values), max(values)) for epoch, values in found]


def trade_offs(summary: Summary) -> Markup:
    """Return accuracy against fidelity and against faithfulness, with the stages that no other beats in all three."""
    charts = [_scatter(summary, column) for column in (FIDELITY, DELETION)]
    drawn = [chart for chart in charts if chart is not None]
    if not drawn:
        return element("p", "There is no second quality to hold against accuracy.")
    return safe(legend(colours(summary)), element("div", *drawn, class_="charts"), _front(summary))


def _scatter(summary: Summary, column: Column) -> Markup | None:
    stages = [stage for stage in summary.stages if _paired(stage, column)]
    if not stages:
        return None
    ends: list[tuple[float, float]] = []
    for stage in stages:
        (x_low, x_high), (y_low, y_high) = (_interval(stage.estimate(key.key), key) for key in (ACCURACY, column))
        ends += [(x_low, y_low), (x_high, y_high)]
        ends += [(x * ACCURACY.scale, y * column.scale) for x, y in _paired(stage, column)]
    widths, heights = [end[0] for end in ends], [end[1] for end in ends]
    across, up = (axis(s, ends=_scaled(c.ends, c)) for s, c in ((widths, ACCURACY), (heights, column)))
    chart = Chart(across, up, ACCURACY.heading, column.heading)
    labels: dict[tuple[float, float], list[str]] = {}
    for stage in stages:
        colour = colours(summary)[stage.name]
        for x, y in _paired(stage, column):
            chart.dot(x * ACCURACY.scale, y * column.scale, colour)
        x_range, y_range = (_interval(stage.estimate(key.key), key) for key in (ACCURACY, column))
        middle = (stage.estimate(ACCURACY.key).mean * ACCURACY.scale, stage.estimate(column.key).mean * column.scale)
        chart.whiskers(x_range, y_range, middle, colour)
        chart.dot(*middle, colour, large=True)
        labels.setdefault(middle, []).append(stage.name)
    for place, names in labels.items():
        chart.label(*place, ", ".join(names))
    return framed(chart)


def _paired(stage: Stage, column: Column) -> list[tuple[float, float]]:
    across, up = stage.values.get(ACCURACY.key, {}), stage.values.get(column.key, {})
    points = [(across[seed], up[seed]) for seed in sorted(across.keys() & up.keys())]
    return [point for point in points if point[0] == point[0] and point[1] == point[1]]


def _interval(found: Estimate, column: Column) -> tuple[float, float]:
    return _scaled(column.interval(found), column)


def _scaled(ends: tuple[float, float], column: Column) -> tuple[float, float]:
    return ends[0] * column.scale, ends[1] * column.scale


def _front(summary: Summary) -> Markup:
    columns = [column for column in (ACCURACY, FIDELITY, DELETION) if column in summary.columns]
    points = {}
    for stage in summary.stages:
        means = [stage.estimate(column.key).mean * (1 if column.higher_is_better else -1) for column in columns]
        if not stage.teaches and all(mean == mean for mean in means):
            points[stage.name] = means
    if len(points) < 2:
        return Markup("")
    names = ", ".join(name for name in points if name in pareto(points))
    titles = ", ".join(column.phrase for column in columns)
    return element("p", f"By their means, no other student is at least as good in all of {titles}: {names}.")


def pictures(summary: Summary) -> Markup:
    """Return the figures of each stage's first seed, inside the page, and why one could not be made."""
    sections, room = [], ROOM
    for stage in summary.stages:
        shown, use = [], stage.uses[0]
        for path in use.folder.figures()[:PICTURES]:
            content = path.read_bytes()
            room -= len(content)
            if room >= 0:
                source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
                caption = f"{stage.name}, seed {use.seed}: {path.stem.replace('_', ' ')}"
                image = element("img", src=source, alt=caption, loading="lazy")
                shown.append(element("figure", image, element("figcaption", caption)))
        failed = (use.folder.shown(use.evaluation) or {}).get("failed", {})
        lines = [f"{stage.name}, seed {use.seed}: {name} could not be made ({why})." for name, why in failed.items()]
        sections += [*shown, *(element("p", line) for line in lines)]
    if room < 0:
        sections.append(element("p", "Further figures are in the stage folders: the page would grow too large."))
    return element("div", *sections, class_="pictures") if sections else element("p", "The stages left no figures.")
