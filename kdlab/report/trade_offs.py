"""Accuracy against fidelity and against faithfulness, with the stages that no other beats in all three."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes

from kdlab.report.charts import PLACEHOLDERS, chart, colour, label, ticks
from kdlab.report.columns import ACCURACY, DELETION, FIDELITY, Column
from kdlab.report.statistics import estimate, pareto
from kdlab.report.summary import Stage, Summary


@dataclass(frozen=True)
class Spread:
    """A quality of one stage, in the printed unit: a value for each seed, their mean, and the ends of its interval."""

    values: list[float]
    mean: float
    low: float
    high: float

    @property
    def arms(self) -> list[list[float]]:
        """How far the interval reaches below the mean and above it."""
        # Rounding may put an end on the other side of the mean, but an arm has no negative length.
        return [[max(self.mean - self.low, 0.0)], [max(self.high - self.mean, 0.0)]]


def trade_offs(summary: Summary) -> Iterator[tuple[str, Markup]]:
    """Yield titles and charts of accuracy against each second quality that some stage has."""
    for column in (FIDELITY, DELETION):
        stages = {number: stage for number, stage in enumerate(summary.stages) if _paired(stage, column)}
        if stages:
            yield column.heading, _chart(stages, column)


def _chart(stages: Mapping[int, Stage], column: Column) -> Markup:
    """Draw a dot for each seed, and a large dot at each stage's means with the intervals in both directions."""
    accuracy = {number: _spread(stage, ACCURACY, _paired(stage, column)) for number, stage in stages.items()}
    quality = {number: _spread(stage, column, _paired(stage, column)) for number, stage in stages.items()}

    def draw(axes: Axes) -> None:
        names: dict[tuple[float, float], list[str]] = {}
        for number, stage in stages.items():
            x, y, drawn = accuracy[number], quality[number], colour(number)
            axes.plot(x.values, y.values, "o", color=drawn, alpha=0.4, markersize=6, markeredgewidth=0, clip_on=False)
            axes.errorbar(
                x.mean,
                y.mean,
                y.arms,
                x.arms,
                fmt="o",
                color=drawn,
                elinewidth=1.5,
                markersize=13,
                markeredgewidth=1.5,
                markeredgecolor=PLACEHOLDERS["paper"],
                clip_on=False,
                zorder=3,
            )
            names.setdefault((x.mean, y.mean), []).append(stage.name)
        label(axes, {place: ", ".join(together) for place, together in names.items()})

    x_ticks, y_ticks = (_ticks(spreads, c) for spreads, c in ((accuracy, ACCURACY), (quality, column)))
    return chart(ACCURACY.heading, column.heading, x_ticks, y_ticks, draw)


def _ticks(spreads: Mapping[int, Spread], column: Column) -> list[float]:
    reached = [value for spread in spreads.values() for value in (*spread.values, spread.low, spread.high)]
    return ticks(reached, ends=(column.ends[0] * column.scale, column.ends[1] * column.scale))


def _paired(stage: Stage, column: Column) -> list[int]:
    """Return the seeds that have both accuracy and the other quality."""
    across, up = stage.values.get(ACCURACY.key, {}), stage.values.get(column.key, {})
    # A value that is unequal to itself is NaN, and has no place on a chart.
    return [s for s in sorted(across.keys() & up.keys()) if across[s] == across[s] and up[s] == up[s]]


def _spread(stage: Stage, column: Column, seeds: list[int]) -> Spread:
    values = [stage.values[column.key][seed] for seed in seeds]
    of_these = estimate(values)  # not of all seeds: the large dot is the mean of the small ones
    low, high = column.interval(of_these)
    scaled = [value * column.scale for value in values]
    return Spread(scaled, of_these.mean * column.scale, low * column.scale, high * column.scale)


def front(summary: Summary) -> str | None:
    """Return the sentence on the students that no other beats, or None where there are fewer than two students."""
    columns = [column for column in (ACCURACY, FIDELITY, DELETION) if column in summary.columns]
    points = {}
    for stage in summary.stages:
        means = [stage.estimate(column.key).mean * (1 if column.higher_is_better else -1) for column in columns]
        if not stage.teaches and all(mean == mean for mean in means):
            points[stage.name] = means
    if len(points) < 2:
        return None
    names = ", ".join(name for name in points if name in pareto(points))
    titles = ", ".join(column.phrase for column in columns)
    return f"By their means, no other student is at least as good in all of {titles}: {names}."
