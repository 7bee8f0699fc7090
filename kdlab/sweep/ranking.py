"""Ranks trials: by their value if there is one objective, by their distance from the best values if there are more."""

from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from kdlab.sweep.study import feasible


def completed(study: Study) -> list[FrozenTrial]:
    """Return the completed trials that keep every constraint, or all completed trials if none of them does."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in trials if feasible(trial)] or trials


def front(study: Study) -> list[FrozenTrial]:
    """Return the Pareto front, by trial number: the trials that no other beats.

    A trial beats another if it is at least as good in every objective and better in one. Of trials with the same values
    only the first is returned.
    """
    signs = _signs(study)
    trials = completed(study)
    points = {trial.number: _signed(trial, signs) for trial in trials}
    unbeaten: list[FrozenTrial] = []
    for trial in trials:
        mine = points[trial.number]
        beaten = any(_beats(points[other.number], mine) for other in trials)
        if not beaten and all(points[other.number] != mine for other in unbeaten):
            unbeaten.append(trial)
    return unbeaten


def ranked(study: Study) -> list[FrozenTrial]:
    """Return the trials of ``completed``, best first.

    With several objectives the trials of the Pareto front come first, and the best trade-off before all others. The
    trade-off is the trial nearest to the best value of every objective. Distances are measured between the front's own
    best and worst value of each objective, so that no unit outweighs another.
    """
    signs = _signs(study)
    trials = completed(study)
    if not trials:
        return []
    if len(signs) == 1:
        return sorted(trials, key=lambda trial: (_signed(trial, signs), trial.number))
    best = front(study)
    # The front alone gives the scale, so that a very bad trial does not change which trade-off is chosen.
    columns = list(zip(*(_signed(trial, signs) for trial in best), strict=True))

    def distance(trial: FrozenTrial) -> float:
        scaled = [
            (value - min(column)) / (max(column) - min(column)) if max(column) > min(column) else value - min(column)
            for value, column in zip(_signed(trial, signs), columns, strict=True)
        ]
        return float(sum(value**2 for value in scaled))

    numbers = {trial.number for trial in best}
    return sorted(trials, key=lambda trial: (trial.number not in numbers, distance(trial), trial.number))


def _signs(study: Study) -> list[float]:
    return [-1.0 if direction == StudyDirection.MAXIMIZE else 1.0 for direction in study.directions]


def _signed(trial: FrozenTrial, signs: list[float]) -> tuple[float, ...]:
    return tuple(sign * value for sign, value in zip(signs, trial.values, strict=True))


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
