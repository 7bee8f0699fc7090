"""A sweep as one HTML page that needs no other file: how it went, what mattered, and which trade-offs there are."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import optuna.visualization as draw
from markupsafe import Markup
from optuna import Study
from optuna.importance import get_param_importances
from optuna.trial import FrozenTrial, TrialState

from kdlab.records.files import replacing
from kdlab.report.rendering import render
from kdlab.sweep.definition import Sweep
from kdlab.sweep.numbers import number, setting
from kdlab.sweep.ranking import front, ranked
from kdlab.sweep.storage import quiet
from kdlab.sweep.study import EXECUTION, REASON, feasible
from kdlab.sweep.study_place import StudyPlace

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

#: The most trials in a table, and the most contour maps for one objective.
ROWS, CONTOURS = 20, 6


def write_page(sweep: Sweep, study: Study, place: StudyPlace) -> Path:
    """Write ``mlruns/reports/<study>-sweep.html`` and return its path."""
    path = place.mlruns / "reports" / f"{place.name}-sweep.html"
    with replacing(path) as scratch:
        scratch.write_text(_page(sweep, study, place), encoding="utf-8")
    return path


def summary(sweep: Sweep, study: Study) -> str:
    """Return the sweep in Markdown, for its page in MLflow: how many trials ended in which way, and the best trial."""
    lines = [_count_line(study)]
    best = ranked(study)[:1]
    for trial in best:
        values = ", ".join(f"{o.name} {number(v, 6)}" for o, v in zip(sweep.objectives, trial.values, strict=True))
        settings = ", ".join(f"`{name}` = {setting(value)}" for name, value in trial.params.items())
        word = "Best" if len(sweep.objectives) == 1 else "Chosen trade-off"
        lines.append(f"{word}: trial {trial.number}, {values}, with {settings}.")
    return "\n\n".join(lines)


def _page(sweep: Sweep, study: Study, place: StudyPlace) -> str:
    return render(
        "sweep.html",
        title=f"Sweep {place.name}",
        counts=_count_line(study),
        several=len(sweep.objectives) > 1,
        best=_best_trials(sweep, study),
        failed=_failed_trials(study),
        figures=[(heading, _html(figure, first=not n)) for n, (heading, figure) in enumerate(_figures(sweep, study))],
    )


def _html(figure: "Figure", first: bool) -> Markup:
    """Return a figure as HTML; the first one brings plotly's own script, so that the page opens without a network."""
    # The page has a heading in place of the title, and a background of its own.
    figure.update_layout(title=None, paper_bgcolor="rgba(0,0,0,0)", modebar_bgcolor="rgba(0,0,0,0)")
    drawn = figure.to_html(full_html=False, include_plotlyjs=first, config={"displaylogo": False})
    return Markup(drawn)  # noqa: S704 plotly writes names as JSON, which cannot close the script


def _count_line(study: Study) -> str:
    trials = study.get_trials(deepcopy=False)
    states = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    return ", ".join(f"{sum(t.state == state for t in trials)} trials {word}" for word, state in states.items())


def _best_trials(sweep: Sweep, study: Study) -> tuple[list[str], list[list[str]]]:
    """Return the heading and the rows of the table of the best trials."""
    best, on_front = ranked(study), {trial.number for trial in front(study)}
    names = list(dict.fromkeys(name for trial in best for name in trial.params))
    goals = [f"{o.name} ({'higher' if o.maximize else 'lower'} is better)" for o in sweep.objectives]
    bounds = [constraint.name for constraint in sweep.constraints]
    several = len(sweep.objectives) > 1
    rows = []
    for trial in best[:ROWS]:
        cells = [f"{trial.number}{' (front)' if several and trial.number in on_front else ''}"]
        cells += [number(value, 6) for value in trial.values]
        cells += [setting(trial.params.get(name, "")) for name in names]
        cells += [_kept(trial, name) for name in bounds]
        rows.append([*cells, str(trial.user_attrs.get(EXECUTION, ""))])
    return ["Trial", *goals, *names, *bounds, "Execution"], rows


def _failed_trials(study: Study) -> list[list[str]]:
    """Return rows for the last failed trials: the trial's number and the reason."""
    failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    return [[str(trial.number), str(trial.user_attrs.get(REASON, "its worker died"))] for trial in failed[-ROWS:]]


def _kept(trial: FrozenTrial, name: str) -> str:
    violation = trial.constraints.get(name)
    return "" if violation is None else "kept" if violation <= 0 else f"broken by {violation:.3g}"


def _figures(sweep: Sweep, study: Study) -> "Iterator[tuple[str, Figure]]":
    done = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE and feasible(t)]
    if len(done) < 2:
        return
    always = [name for name in done[0].params if all(name in trial.params for trial in done)]
    vary = [name for name in always if len({repr(trial.params[name]) for trial in done}) > 1]
    with quiet():
        # A cloud of points in three dimensions cannot be read, so objectives are drawn in pairs.
        for x, y in combinations(range(len(sweep.objectives)), 2):
            yield _pareto_front(sweep, study, x, y)
        for position, objective in enumerate(sweep.objectives):
            yield from _of_objective(study, position, objective.name, vary)


def _pareto_front(sweep: Sweep, study: Study, x: int, y: int) -> "tuple[str, Figure]":
    """Draw two objectives of every trial; the trials that no other beats in all objectives stand out."""
    names = [sweep.objectives[position].name for position in (x, y)]

    def values(trial: FrozenTrial) -> tuple[float, float]:
        return trial.values[x], trial.values[y]

    return f"Pareto front: {' and '.join(names)}", draw.plot_pareto_front(study, targets=values, target_names=names)


def _of_objective(study: Study, position: int, name: str, vary: list[str]) -> "Iterator[tuple[str, Figure]]":
    def value(trial: FrozenTrial) -> float:
        return float(trial.values[position])

    # Without a target Optuna knows the direction of its one objective, and draws the best trials darkest.
    target = value if len(study.directions) > 1 else None
    yield f"History of {name}", draw.plot_optimization_history(study, target=target, target_name=name)
    if not vary:
        return
    values = {value(t) for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))}
    if len(vary) > 1 and len(values) > 1:
        mattered = draw.plot_param_importances(study, params=vary, target=target, target_name=name)
        yield f"What mattered to {name}", mattered
    yield f"{name} by each setting", draw.plot_slice(study, params=vary, target=target, target_name=name)
    if len(vary) > 1:
        lines = draw.plot_parallel_coordinate(study, params=vary, target=target, target_name=name)
        yield f"{name}: every trial a line", lines
    for pair in list(combinations(_by_importance(study, vary, position), 2))[:CONTOURS]:
        contour = draw.plot_contour(study, params=list(pair), target=target, target_name=name)
        yield f"{name} over {pair[0]} and {pair[1]}", contour


def _by_importance(study: Study, names: list[str], position: int) -> list[str]:
    """Return up to four settings for the contour maps, those that mattered most first.

    Temperature and alpha come before all others, because everybody asks for them.
    """
    popular = [name for name in names if name in ("temperature", "alpha")]
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    rest = [name for name in names if name not in popular]
    if len({trial.values[position] for trial in trials}) > 1 and len(names) > 1:
        mattered = get_param_importances(study, params=names, target=lambda trial: float(trial.values[position]))
        rest.sort(key=lambda name: -mattered.get(name, 0.0))
    return [*popular, *rest][:4]
