"""What a sweep ends with: its best configuration as an experiment, trained on all seeds and tested once."""

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
    """What a trial tried."""
    return dict(trial.params)


def finalists(study: Study, count: int) -> list[FrozenTrial]:
    """The best trial; with several objectives the chosen trade-off and the next ones of the front."""
    if len(study.directions) == 1:
        return ranked(study)[:1]
    on_front = {trial.number for trial in front(study)}
    return [trial for trial in ranked(study) if trial.number in on_front][:count]


def experiment_of(sweep: Sweep, trial: FrozenTrial, name: str) -> Experiment:
    """A trial's experiment with all seeds, and the stages that trials leave out."""
    kept = [text for text in sweep.base if not text.startswith("seeds=")]
    experiment = sweep.written.overridden(kept)
    values = sweep.space.overrides(values_of(trial))
    return experiment.overridden([f"seeds={experiment.seeds}", *values, f"name={name}"])


def write_best(sweep: Sweep, study: Study, place: StudyPlace, trial: FrozenTrial) -> Path:
    """Write the best configuration as a ready experiment beside the sweep's file; its path.

    Only a study of another name than its sweep's gets a file of another name, so that none overwrites the other's.
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
    """Run the finalists on all seeds and test them; each stage is tested once, whoever asks."""
    outcomes = []
    for position, trial in enumerate(trials):
        name = f"{place.name}-best" + (f"-{position + 1}" if position else "")
        outcomes.append(run(experiment_of(sweep, trial, name), options))
    executions = {str(t.number): outcome.execution for t, outcome in zip(trials, outcomes, strict=True)}
    write_json(place.folder / "finalists.json", executions)
    return outcomes
