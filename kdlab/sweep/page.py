"""A sweep as one HTML page that needs nothing else: how it went, what mattered, which trade-offs there are."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import optuna.visualization as draw
from optuna import Study
from optuna.importance import get_param_importances
from optuna.trial import FrozenTrial, TrialState

from kdlab.records.files import replacing
from kdlab.report.markup import Markup, element, table
from kdlab.report.style import STYLE
from kdlab.sweep.definition import Sweep
from kdlab.sweep.numbers import number, setting
from kdlab.sweep.ranking import front, ranked
from kdlab.sweep.storage import quiet
from kdlab.sweep.study import EXECUTION, REASON, feasible
from kdlab.sweep.study_place import StudyPlace

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

#: So many trials stand in the table, and so many contour maps on the page.
ROWS, CONTOURS = 20, 6
#: The report's looks without its rules for drawings, which would squeeze plotly's.
LOOKS = Markup("\n".join(line for line in STYLE.splitlines() if not line.startswith("svg")))


def write_page(sweep: Sweep, study: Study, place: StudyPlace) -> Path:
    """Write ``mlruns/reports/<study>-sweep.html``; its path."""
    path = place.mlruns / "reports" / f"{place.name}-sweep.html"
    with replacing(path) as scratch:
        scratch.write_text(_page(sweep, study, place), encoding="utf-8")
    return path


def summary(sweep: Sweep, study: Study) -> str:
    """The sweep in Markdown, for its page in MLflow."""
    lines = [_count_line(study)]
    best = ranked(study)[:1]
    for trial in best:
        values = ", ".join(f"{o.name} {number(v, 6)}" for o, v in zip(sweep.objectives, trial.values, strict=True))
        settings = ", ".join(f"`{name}` = {setting(value)}" for name, value in trial.params.items())
        word = "Best" if len(sweep.objectives) == 1 else "Chosen trade-off"
        lines.append(f"{word}: trial {trial.number}, {values}, with {settings}.")
    return "\n\n".join(lines)


def _page(sweep: Sweep, study: Study, place: StudyPlace) -> str:
    title = f"Sweep {place.name}"
    head = [
        element("meta", charset="utf-8"),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", LOOKS),
    ]
    parts = [element("h1", title), element("p", _count_line(study), class_="quiet"), *_tables(sweep, study)]
    for heading, figure in _figures(sweep, study):
        # plotly's own script stands in the page once, so that it opens without a network.
        first = not any("plotly-graph-div" in part for part in parts)
        figure.update_layout(title=None)  # the heading says it
        drawn = figure.to_html(full_html=False, include_plotlyjs=first, config={"displaylogo": False})
        # A row of slices is wider than a phone: it scrolls by itself, not with the page.
        parts += [element("h2", heading), element("div", Markup(drawn), style="overflow-x: auto")]
    body = element("main", *parts)
    return f"<!doctype html>\n{element('html', element('head', *head), element('body', body), lang='en')}\n"


def _count_line(study: Study) -> str:
    trials = study.get_trials(deepcopy=False)
    told = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    return ", ".join(f"{sum(t.state == state for t in trials)} trials {word}" for word, state in told.items())


def _tables(sweep: Sweep, study: Study) -> Iterator[Markup]:
    best, on_front = ranked(study), {trial.number for trial in front(study)}
    names = list(dict.fromkeys(name for trial in best for name in trial.params))
    goals = [f"{o.name} ({'higher' if o.maximize else 'lower'} is better)" for o in sweep.objectives]
    bounds = [constraint.name for constraint in sweep.constraints]
    several = len(sweep.objectives) > 1
    if several:
        yield element(
            "p",
            "The chosen trade-off stands first: the trial of the Pareto front that is nearest to the best value of "
            "every objective, each measured between the front's own best and worst.",
        )
    rows = []
    for trial in best[:ROWS]:
        cells = [f"{trial.number}{' (front)' if several and trial.number in on_front else ''}"]
        cells += [number(value, 6) for value in trial.values]
        cells += [setting(trial.params.get(name, "")) for name in names]
        cells += [_kept(trial, name) for name in bounds]
        rows.append([*cells, str(trial.user_attrs.get(EXECUTION, ""))])
    yield element("h2", "Best trials")
    yield table(["Trial", *goals, *names, *bounds, "Execution"], rows, class_="numbers")
    failed = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.FAIL]
    if failed:
        told = [[str(t.number), str(t.user_attrs.get(REASON, "its worker died"))] for t in failed[-ROWS:]]
        yield element("details", element("summary", "Failed trials"), table(["Trial", "Why"], told))


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
        # A cloud in three dimensions cannot be read; two aims at a time can.
        for one, other in combinations(range(len(sweep.objectives)), 2):
            yield _pareto_front(sweep, study, one, other)
        for position, objective in enumerate(sweep.objectives):
            yield from _of_objective(study, position, objective.name, vary)


def _pareto_front(sweep: Sweep, study: Study, one: int, other: int) -> "tuple[str, Figure]":
    """Two objectives of every trial; those that no other beats in all objectives stand out."""
    names = [sweep.objectives[position].name for position in (one, other)]

    def values(trial: FrozenTrial) -> tuple[float, float]:
        return trial.values[one], trial.values[other]

    return f"Pareto front: {' and '.join(names)}", draw.plot_pareto_front(study, targets=values, target_names=names)


def _of_objective(study: Study, position: int, name: str, vary: list[str]) -> "Iterator[tuple[str, Figure]]":
    def value(trial: FrozenTrial) -> float:
        return float(trial.values[position])

    # With one objective Optuna knows its direction, and draws the best darkest.
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
    """The settings that mattered most come first; temperature and alpha, which everybody asks for, before them."""
    wanted = [name for name in names if name in ("temperature", "alpha")]
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    rest = [name for name in names if name not in wanted]
    if len({trial.values[position] for trial in trials}) > 1 and len(names) > 1:
        mattered = get_param_importances(study, params=names, target=lambda trial: float(trial.values[position]))
        rest.sort(key=lambda name: -mattered.get(name, 0.0))
    return [*wanted, *rest][:4]
