"""A sweep is stopped where its latest trials do nothing but fail, and only there."""

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from kdlab.errors import StageError
from kdlab.sweep.study import REASON, STOPPED
from kdlab.sweep.trial import seed_by_seed
from kdlab.sweep.worker import TOO_MANY, check_for_progress

START = datetime(2020, 1, 1)


def study_of(*reasons: str | None) -> optuna.Study:
    """A study whose trials ended one after the other: with a reason it failed, with None it is complete."""
    study = optuna.create_study()
    for number, reason in enumerate(reasons):
        failed = reason is not None
        trial = create_trial(
            state=TrialState.FAIL if failed else TrialState.COMPLETE,
            value=None if failed else 1.0,
            user_attrs={REASON: reason} if failed else {},
        )
        trial.datetime_start = START + timedelta(minutes=number)
        trial.datetime_complete = START + timedelta(minutes=number + 1)
        study.add_trial(trial)
    return study


def test_the_latest_trials_decide_and_not_the_first() -> None:
    failing = ["diverged"] * TOO_MANY
    with pytest.raises(StageError, match=f"the last {TOO_MANY} trials failed, the last one: diverged"):
        check_for_progress(study_of(None, None, *failing))
    check_for_progress(study_of(*failing, None))


def test_trials_that_somebody_stopped_say_nothing() -> None:
    check_for_progress(study_of(*["diverged"] * (TOO_MANY - 1), STOPPED))


def test_all_stages_are_trained_at_the_first_seed_before_the_second() -> None:
    nodes: list[Any] = [
        SimpleNamespace(stage=stage, seed=seed)
        for stage, seeds in (("teacher", [0]), ("baseline", [5, 6, 7]), ("student", [5, 6, 7]))
        for seed in seeds
    ]
    ordered = [(node.stage, node.seed) for node in seed_by_seed(nodes)]
    assert ordered == [
        ("teacher", 0),
        ("baseline", 5),
        ("student", 5),
        ("baseline", 6),
        ("student", 6),
        ("baseline", 7),
        ("student", 7),
    ]
