"""The end of a sweep: its best configuration becomes an experiment, is trained on all seeds and tested once."""

from collections.abc import Sequence
from pathlib import Path

import yaml
from optuna import Study
from optuna.trial import FrozenTrial

from kdlab.configuration.experiment import Experiment
from kdlab.records.files import replacing, write_json
from kdlab.stages.options import Options
from kdlab.stages.run import Outcome, run
from kdlab.sweep.definition import ENDING, Sweep
from kdlab.sweep.numbers import number
from kdlab.sweep.ranking import front, ranked
from kdlab.sweep.space import Values
from kdlab.sweep.study_place import StudyPlace


def values_of(trial: FrozenTrial) -> Values:
    """Return the values that a trial tried, by the names of the search's entries."""
    return dict(trial.params)


def finalists(study: Study, count: int) -> list[FrozenTrial]:
    """Return the trials that are trained on all seeds and tested, best first.

    With one objective this is the best trial alone. With several it is the chosen trade-off and the next best trials of
    the Pareto front.

    Args:
        study: the sweep's study.
        count: the most trials that are returned where there are several objectives.
    """
    if len(study.directions) == 1:
        return ranked(study)[:1]
    on_front = {trial.number for trial in front(study)}
    return [trial for trial in ranked(study) if trial.number in on_front][:count]


def experiment_of(sweep: Sweep, trial: FrozenTrial, name: str) -> Experiment:
    """Return a trial's configuration as an experiment with all seeds and with the stages that trials leave out.

    Args:
        sweep: the sweep that the trial belongs to.
        trial: gives the values.
        name: the new experiment's name.
    """
    # A trial may use fewer seeds than the experiment has; the best configuration is trained with all of them.
    # The last override is the seeds that trials are averaged over; those that a user sets stand before it and count.
    experiment = sweep.written.overridden(sweep.base[:-1])
    values = sweep.space.overrides(values_of(trial))
    return experiment.overridden([f"seeds={experiment.seeds}", *values, f"name={name}"])


def write_best(sweep: Sweep, study: Study, place: StudyPlace, trial: FrozenTrial) -> Path:
    """Write the best configuration as a ready experiment beside the sweep's file, and return its path.

    The file is called after the sweep, ``NAME.best.yaml``. If the study has another name than its sweep, the file is
    called after the study, so that two studies of one sweep do not overwrite each other's file.
    """
    stem = sweep.path.name.removesuffix(ENDING)
    path = sweep.path.with_name(f"{stem if place.name == sweep.name else place.name}.best.yaml")
    experiment = experiment_of(sweep, trial, f"{place.name}-best")
    values = ", ".join(f"{o.name} {number(v, 6)}" for o, v in zip(sweep.objectives, trial.values, strict=True))
    head = [
        f"# The best of {len(study.get_trials(deepcopy=False))} trials of {sweep.path.name}: trial {trial.number}.",
        f"# On validation: {values}. Written by `kdlab sweep`, which overwrites it; rename it to change it.",
        *(f"# {name}: {value}" for name, value in trial.params.items()),
    ]
    text = yaml.safe_dump(experiment.resolved, sort_keys=False, allow_unicode=True, width=120)
    with replacing(path) as scratch:
        scratch.write_text("\n".join(head) + "\n" + text, encoding="utf-8")
    return path


def test_finalists(
    sweep: Sweep, study: Study, place: StudyPlace, options: Options, trials: Sequence[FrozenTrial]
) -> list[Outcome]:
    """Train the finalists on all seeds, test them, and return their outcomes in the same order.

    A stage is tested only once, even if another command has tested it before. The ids of the executions are written to
    ``finalists.json`` in the study's folder, by trial number.
    """
    outcomes = []
    for position, trial in enumerate(trials):
        name = f"{place.name}-best" + (f"-{position + 1}" if position else "")
        outcomes.append(run(experiment_of(sweep, trial, name), options))
    executions = {str(t.number): outcome.execution for t, outcome in zip(trials, outcomes, strict=True)}
    write_json(place.folder / "finalists.json", executions)
    return outcomes
