"""Learning curves: one chart a metric, a curve a stage."""

import math
from collections.abc import Iterator, Mapping

from markupsafe import Markup
from matplotlib.axes import Axes

from kdlab.report.charts import DASHES, chart, colour, ticks
from kdlab.report.columns import COSINE, SHARE
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

#: (epoch, mean, lowest, highest) over seeds.
Curve = list[tuple[float, float, float, float]]


def learning_curves(summary: Summary) -> Iterator[tuple[str, Markup]]:
    """Yield titles and charts of the metrics that some stage has logged in more than one epoch."""
    curves = [_curves(stage) for stage in summary.stages]
    for key, title in CURVES.items():
        shown = {number: curve[key] for number, curve in enumerate(curves) if curve.get(key)}
        if any(len(curve) > 1 for curve in shown.values()):
            yield title, _chart(key, shown)


def _chart(key: str, curves: Mapping[int, Curve]) -> Markup:
    """Draw a curve a stage: mean over seeds, band from the lowest to the highest seed."""
    points = [point for curve in curves.values() for point in curve]

    def draw(axes: Axes) -> None:
        for number, curve in curves.items():
            epochs, means, lowest, highest = zip(*curve, strict=True)
            axes.fill_between(epochs, lowest, highest, color=colour(number), alpha=0.16, linewidth=0, zorder=1)
            style = DASHES[number % len(DASHES)]
            mark = "o" if len(curve) == 1 else None  # one point alone makes no line
            axes.plot(epochs, means, color=colour(number), linestyle=style, linewidth=2, marker=mark, clip_on=False)

    epochs = ticks([point[0] for point in points], whole=True)
    values = ticks([height for _, _, *heights in points for height in heights], ends=ENDS[key])
    return chart("epoch", CURVES[key], epochs, values, draw)


def _curves(stage: Stage) -> dict[str, Curve]:
    """Return the stage's curves by metric."""
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
    kept = [(epoch, list(by_epoch[epoch].values())) for epoch in epochs[:: max(1, len(epochs) // POINTS)]]
    return [(epoch, sum(values) / len(values), min(values), max(values)) for epoch, values in kept]
