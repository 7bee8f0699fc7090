"""A made-up sweep over the made-up experiment; each trial takes half a second."""

from pathlib import Path
from typing import Any

import yaml
from optuna import Study

from kdlab.stages.options import Options
from kdlab.sweep.check import check_sweep
from kdlab.sweep.definition import Sweep, read_sweep
from kdlab.sweep.study import join
from kdlab.sweep.study_place import StudyPlace, place_of
from kdlab.sweep.tracking import SweepRun
from kdlab.sweep.trial import Trials, options_for, sweep_name
from kdlab.sweep.worker import Target, work
from tests.experiments import written

ACCURACY = {"stage": "student", "metric": "val/accuracy", "direction": "maximize"}
AGREEMENT = {"stage": "student", "metric": "val/fidelity/agreement", "direction": "maximize"}
SIZE = {"stage": "student", "metric": "cost/parameters", "direction": "minimize"}


def content() -> dict[str, Any]:
    """Temperature and alpha, for accuracy."""
    return {
        "search": {
            "temperature": {"sets": ["student.temperature"], "float": [1.0, 8.0], "log": True},
            "alpha": {"sets": "student.alpha", "float": [0.1, 2.0]},
        },
        "objectives": {"accuracy": ACCURACY},
    }


def sweep_file(folder: Path, experiment: dict[str, Any] | None = None, **changes: Any) -> Path:
    """The experiment and its sweep as files; top-level keys of the sweep may be changed, None drops one."""
    written(folder, **(experiment or {}))
    path = folder / "made_up.sweep.yaml"
    whole = {name: value for name, value in {**content(), **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(whole, sort_keys=False))
    return path


def opened(folder: Path, **changes: Any) -> tuple[Sweep, StudyPlace, Options]:
    """A sweep, where its study is, and the choices of its trials."""
    sweep = read_sweep(sweep_file(folder, **changes))
    place = place_of("made_up", None, folder / "mlruns")
    return sweep, place, options_for(place.mlruns, "cpu", sweep.stages, False)


def swept(folder: Path, trials: int, keep: int | None = None, **changes: Any) -> Study:
    sweep, place, options = opened(folder, **changes)
    study = join(sweep, place, check_sweep(sweep, options))
    parent = SweepRun(place, sweep_name(sweep)).open()
    work(sweep, place, Trials(sweep, place, options, parent), Target(trials, keep=keep))
    return study


def states(study: Study) -> list[str]:
    return [trial.state.name for trial in study.get_trials(deepcopy=False)]
