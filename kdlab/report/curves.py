"""Learning curves: one chart for each metric, with a curve for each stage."""

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
# The lowest and the highest possible value of each metric, where its axis ends; a loss has none.
ENDS = dict.fromkeys(CURVES, SHARE) | {
    "train/loss": (-math.inf, math.inf),
    "val/explanation/teacher_cosine": COSINE,
}
# A curve of twice as many points or more is thinned out: they could not be told apart on a screen.
POINTS = 300

#: Points of a curve: the epoch, and the mean, lowest and highest value over seeds.
Curve = list[tuple[float, float, float, float]]


def learning_curves(summary: Summary) -> Iterator[tuple[str, Markup]]:
    """Yield title and chart of each metric that some stage has logged in more than one epoch."""
    curves = [_curves(stage) for stage in summary.stages]
    for key, title in CURVES.items():
        shown = {number: curve[key] for number, curve in enumerate(curves) if curve.get(key)}
        if any(len(curve) > 1 for curve in shown.values()):
            yield title, _chart(key, shown)


def _chart(key: str, curves: Mapping[int, Curve]) -> Markup:
    """Draw a curve for each stage: the mean over seeds, in a band from the lowest to the highest seed."""
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
                # NaN and infinity cannot be drawn.
                if value is not None and abs(value) < float("inf"):
                    values.setdefault(key, {}).setdefault(int(line["epoch"]), {})[use.seed] = value
    return {key: mean_curve(by_epoch) for key, by_epoch in values.items()}


def mean_curve(by_epoch: Mapping[int, Mapping[int, float]]) -> Curve:
    """Return the points of a curve, only at epochs where no seed is missing that has values later on.

    A mean of the other seeds would jump up and down there. Such epochs exist because explanations are also scored at a
    seed's chosen epoch, which differs between seeds.

    Args:
        by_epoch: The values as ``by_epoch[epoch][seed]``.
    """
    ends: dict[int, int] = {}
    for epoch, values in by_epoch.items():
        ends |= {seed: max(epoch, ends.get(seed, epoch)) for seed in values}
    epochs = [e for e in sorted(by_epoch) if all(s in by_epoch[e] for s, end in ends.items() if end >= e)]
    kept = [(epoch, list(by_epoch[epoch].values())) for epoch in epochs[:: max(1, len(epochs) // POINTS)]]
    return [(epoch, sum(values) / len(values), min(values), max(values)) for epoch, values in kept]
