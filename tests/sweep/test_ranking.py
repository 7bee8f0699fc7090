"""Which trials are best, how many are enough, and what one is worth: on studies in memory and folders made by hand."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import lightning.pytorch as lightning
import optuna
import pytest
import torch
from optuna import Study, Trial
from optuna.trial import TrialState

from kdlab.configuration.experiment import Experiment
from kdlab.errors import StageError
from kdlab.records.stage_folder import StageFolder
from kdlab.stages.graph import StageNode
from kdlab.sweep.best import finalists
from kdlab.sweep.criteria import Constraint, Measured, Objective
from kdlab.sweep.pruning import Pruned, Pruning
from kdlab.sweep.ranking import completed, front, ranked
from kdlab.sweep.study import feasible, good, is_surplus
from tests.stage_folders import begin_stage, complete_stage, done, log_epoch


def study(*directions: str) -> Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(directions=list(directions or ("maximize",)))


def tell(study: Study, *values: float, broken: float | None = None, state: TrialState = TrialState.COMPLETE) -> None:
    """A trial that ended with these values; ``broken`` by how much it breaks its constraint, kept where negative."""
    trial = study.ask()
    if broken is not None:
        trial.set_constraint("small", broken)
    if state == TrialState.COMPLETE:
        study.tell(trial, list(values))
    elif state.is_finished():
        study.tell(trial, state=state)


def numbers(trials: list[optuna.trial.FrozenTrial]) -> list[int]:
    return [trial.number for trial in trials]


def test_a_trial_that_breaks_a_constraint_is_never_ranked_before_one_that_keeps_it() -> None:
    found = study()
    for value, broken in ((0.9, 1.0), (0.5, 0.0), (0.7, -1.0), (0.99, 1e-9)):
        tell(found, value, broken=broken)
    assert numbers(ranked(found)) == [2, 1]
    assert numbers(completed(found)) == [1, 2]
    assert numbers(finalists(found, 3)) == [2]
    assert [feasible(trial) for trial in found.trials] == [False, True, True, False]


def test_a_trial_that_breaks_a_constraint_beats_nobody_on_the_front() -> None:
    found = study("maximize", "minimize")
    for values, broken in (((0.9, 1.0), 1.0), ((0.8, 2.0), -1.0), ((0.7, 1.5), -1.0), ((0.6, 3.0), 0.0)):
        tell(found, *values, broken=broken)
    assert numbers(front(found)) == [1, 2]
    assert set(numbers(finalists(found, 3))) == {1, 2}
    assert set(numbers(ranked(found))) == {1, 2, 3}
    assert numbers(ranked(found))[2] == 3


def test_a_very_bad_trial_does_not_change_which_trade_off_is_chosen() -> None:
    found = study("maximize", "minimize")
    for accuracy, size in ((0.9, 10.0), (0.88, 5.0), (0.8, 1.0)):
        tell(found, accuracy, size)
    # By the front's own spans 1, 0.04 + 0.20 and 1.
    assert numbers(ranked(found)) == [1, 0, 2]
    tell(found, 0.2, 20.0)
    assert numbers(ranked(found)) == [1, 0, 2, 3]


def test_where_no_trial_keeps_the_constraints_the_best_of_all_is_shown() -> None:
    found = study()
    tell(found, 0.5, broken=1.0)
    tell(found, 0.6, broken=2.0)
    assert numbers(ranked(found)) == [1, 0]


def test_the_lower_value_is_first_where_it_is_minimised() -> None:
    found = study("minimize")
    for value in (3.0, 1.0, 2.0, 1.0):
        tell(found, value)
    assert numbers(ranked(found)) == [1, 3, 2, 0]


def test_the_trade_off_is_nearest_to_the_best_of_every_objective_whatever_its_unit() -> None:
    found = study("maximize", "minimize")
    for values in ((0.5, 1e3), (0.9, 4e3), (1.0, 1e4)):
        tell(found, *values)
    # Between worst and best: (1, 0), (1/5, 1/3) and (0, 1).
    assert numbers(ranked(found)) == [1, 0, 2]


@pytest.mark.parametrize(
    "ended", [*itertools.product((TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL), repeat=3)]
)
def test_a_trial_is_surplus_where_completed_and_pruned_ones_make_up_the_target(ended: tuple[TrialState, ...]) -> None:
    found = study()
    for state in ended:
        tell(found, 0.5, state=state)
    mine = found.ask().number
    count = sum(state != TrialState.FAIL for state in ended)
    assert good(found) == count
    assert [is_surplus(found, mine, target) for target in range(1, 5)] == [count >= target for target in range(1, 5)]


def test_a_trial_that_is_running_before_counts_and_one_behind_does_not() -> None:
    found = study()
    first, second, third = (found.ask().number for _ in range(3))
    assert [is_surplus(found, number, 2) for number in (first, second, third)] == [False, False, True]


class Unasked(Experiment):
    """An experiment that nobody asks for anything."""

    def __init__(self) -> None:
        pass


def planned(mlruns: Path, seed: int, values: dict[int, float], chosen: int, stage: str = "student") -> StageNode:
    """A trained stage that logged these values by epoch."""
    folder = begin_stage(mlruns, stage, seed)
    complete_stage(folder, epochs=0, files=False)
    for epoch, value in values.items():
        log_epoch(folder, epoch, metrics={"val/accuracy": value})
    StageFolder(folder).finish(done(epoch=chosen, seconds=10.0 + seed))
    return StageNode(stage, seed, StageFolder(folder), "e1", ())


def test_a_trial_is_worth_the_mean_over_its_seeds_each_at_its_own_chosen_epoch(tmp_path: Path) -> None:
    trained = [
        planned(tmp_path, 0, {0: 0.25, 1: 0.75}, 0),
        planned(tmp_path, 1, {0: 0.5, 1: 1.0, 2: 0.0}, 1),
        planned(tmp_path, 2, {0: 0.125}, 0),
        planned(tmp_path, 0, {0: 99.0}, 0, "teacher"),
    ]
    # 1/4, 1 and 1/8 at the chosen epochs 0, 1 and 0.
    assert Measured("student", "val/accuracy").value(Unasked(), trained) == pytest.approx(1.375 / 3)
    assert Measured("teacher", "val/accuracy").value(Unasked(), trained) == 99.0
    assert Measured("student", "cost/training_seconds").value(Unasked(), trained) == 11.0
    bounds = [Constraint("a", Measured("student", "val/accuracy"), 0.5, 0.125, upper) for upper in (True, False)]
    excess = 1.375 / 3 - 0.625
    assert [bound.violation(Unasked(), trained) for bound in bounds] == pytest.approx([excess, -excess])


def test_a_seed_without_the_metric_at_its_chosen_epoch_is_refused(tmp_path: Path) -> None:
    trained = [planned(tmp_path, 0, {0: 0.25}, 0), planned(tmp_path, 1, {0: 0.5}, 1)]
    with pytest.raises(StageError, match="seed 1 has no val/accuracy at its chosen epoch"):
        Measured("student", "val/accuracy").value(Unasked(), trained)


@dataclass
class Judged:
    """A trial whose pruner gives it up whenever it is asked; it notes what was reported."""

    reported: dict[int, float]

    def report(self, value: float, epoch: int) -> None:
        assert epoch not in self.reported
        self.reported[epoch] = value

    def should_prune(self) -> bool:
        return True


def validated(pruning: Pruning, epoch: int, epochs: int | None, value: float, sanity: bool = False) -> None:
    state: Any = SimpleNamespace(
        sanity_checking=sanity,
        current_epoch=epoch,
        max_epochs=epochs,
        callback_metrics={"val/accuracy": torch.tensor(value)},
    )
    pruning.on_validation_end(cast(lightning.Trainer, state), lightning.LightningModule())


def test_a_trial_is_not_given_up_after_its_last_epoch_and_is_at_every_one_before(tmp_path: Path) -> None:
    trial = Judged({})
    folder = StageFolder(tmp_path)
    pruning = Pruning(cast(Trial, trial), Measured("student", "val/accuracy"), folder)
    for epoch in range(4):
        with pytest.raises(Pruned, match=f"after epoch {epoch + 1}"):
            validated(pruning, epoch, 5, 0.5)
    validated(pruning, 4, 5, 0.25)
    assert trial.reported == {0: 0.5, 1: 0.5, 2: 0.5, 3: 0.5, 4: 0.25}


def test_a_resumed_trial_reports_each_epoch_once_and_never_what_is_no_number(tmp_path: Path) -> None:
    trial = Judged({})
    trained = planned(tmp_path, 0, {0: 0.5, 1: 0.75}, 0)
    pruning = Pruning(cast(Trial, trial), Measured("student", "val/accuracy"), trained.folder)
    assert trial.reported == {0: 0.5, 1: 0.75}
    for epoch, value, sanity in ((1, 0.1, False), (2, 0.1, True), (3, float("nan"), False)):
        with pytest.raises(Pruned) if not sanity else pytest.MonkeyPatch.context():
            validated(pruning, epoch, None, value, sanity)
    assert trial.reported == {0: 0.5, 1: 0.75}


def test_directions_are_optunas() -> None:
    of = Measured("student", "val/accuracy")
    assert [Objective("a", of, up).direction.name for up in (True, False)] == ["MAXIMIZE", "MINIMIZE"]
