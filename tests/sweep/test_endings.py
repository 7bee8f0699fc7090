"""How trials end: failed, pruned, stopped, dead; and what the sweep does then."""

from pathlib import Path

import pytest
import torch
from optuna.trial import TrialState

from kdlab.errors import ConfigurationError, Interrupted
from kdlab.sweep.check import check_sweep
from kdlab.sweep.pruning import Pruning
from kdlab.sweep.study import REASON, STAGES, claiming, fail_dead_trials, join
from kdlab.sweep.trial import Trials, out_of_memory
from kdlab.sweep.worker import Target, work
from kdlab.tracking.store import Store
from tests.sweep.sweeps import opened, states, swept

pytestmark = pytest.mark.usefixtures("one_store")


def test_a_trial_that_diverges_is_recorded_and_the_sweep_goes_on(tmp_path: Path) -> None:
    rate = 1e30
    search = {"rate": {"sets": "student.optimizer.lr", "choices": [0.01, rate]}}
    study = swept(tmp_path, 2, search=search, start=[{"rate": rate}])
    failed = [trial for trial in study.trials if trial.state == TrialState.FAIL]
    assert failed
    assert "diverged" in failed[0].user_attrs[REASON]
    assert sum(trial.state == TrialState.COMPLETE for trial in study.trials) == 2


def test_no_memory_left_is_recorded_and_the_sweep_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report, calls = Pruning._report, []

    def first_one_fails(self: Pruning, epoch: int, value: float) -> None:
        calls.append(epoch)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        report(self, epoch, value)

    monkeypatch.setattr(Pruning, "_report", first_one_fails)
    study = swept(tmp_path, 1)
    assert states(study)[0] == "FAIL"
    assert study.trials[0].user_attrs[REASON] == "out of memory"
    assert states(study)[1] == "COMPLETE"


def test_a_wrong_configuration_stops_the_sweep_at_once(tmp_path: Path) -> None:
    search = {"temperature": {"sets": "student.temperature", "float": [-2.0, -1.0]}}
    sweep, place, options = opened(tmp_path, search=search)
    study = join(sweep, place, {})
    with pytest.raises(ConfigurationError, match="temperature must be positive"):
        work(sweep, place, Trials(sweep, place, options), Target(4))
    assert not any(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in study.trials)


def test_a_sweep_searches_the_experiment_as_it_was_when_the_sweep_was_read(tmp_path: Path) -> None:
    sweep, _, _ = opened(tmp_path)
    before = sweep.of({"alpha": 0.5}).resolved
    assert before["stages"]["student"]["module"]["init_args"]["alpha"] == 0.5
    sweep.experiment.path.write_text(sweep.experiment.path.read_text().replace("alpha: 1.0", "alhpa: 1.0"))
    assert sweep.of({"alpha": 0.5}).resolved == before


def test_a_sweep_that_only_fails_ends(tmp_path: Path) -> None:
    search = {"rate": {"sets": "student.optimizer.lr", "float": [1e30, 2e30]}}
    sweep, place, options = opened(tmp_path, search=search)
    join(sweep, place, {})
    with pytest.raises(ConfigurationError, match="the last 10 trials failed, the last one: diverged"):
        work(sweep, place, Trials(sweep, place, options), Target(4))


def test_a_lagging_trial_is_pruned_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = swept(
        tmp_path,
        5,
        pruner={"class_path": "ThresholdPruner", "init_args": {"lower": 0.9999}},
        search={"rate": {"sets": "student.optimizer.lr", "float": [1e-7, 1e-6]}},
    )
    assert set(states(study)) == {"PRUNED"}
    assert len(study.trials) == 5
    assert study.trials[0].intermediate_values.keys() == {0}
    fingerprints = {fingerprint for trial in study.trials for fingerprint in trial.user_attrs[STAGES]}
    store = Store(tmp_path / "mlruns")
    experiments = [experiment.experiment_id for experiment in store.client.search_experiments()]
    runs = [r for r in store.client.search_runs(experiments) if r.data.tags.get("fingerprint") in fingerprints]
    assert {run.info.status for run in runs if run.data.tags["stage"] == "student"} == {"KILLED"}, "none of them failed"


def test_a_stopped_trial_is_queued_with_the_same_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = Pruning._report

    def stops(self: Pruning, epoch: int, value: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Pruning, "_report", stops)
    with pytest.raises(Interrupted):
        swept(tmp_path, 2)
    monkeypatch.setattr(Pruning, "_report", report)
    study = swept(tmp_path, 2)
    assert states(study) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert study.trials[1].params == study.trials[0].params


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")  # asked for by hand here, to leave it as a kill would
def test_a_dead_workers_trial_is_failed_and_tried_once_more(tmp_path: Path) -> None:
    sweep, place, options = opened(tmp_path)
    study = join(sweep, place, check_sweep(sweep, options))
    for expected in (2, 2):
        trial = study.ask()
        values = sweep.space.suggest(trial)
        with claiming(place):
            fail_dead_trials(study, place)  # a running trial that no worker has signed
        assert len(study.trials) == expected
        assert values == {"temperature": 2.0, "alpha": 1.0}
    assert states(study) == ["FAIL", "FAIL"]


def test_memory_is_recognised_behind_other_errors() -> None:
    error = ConfigurationError("stage 'student': something")
    error.__cause__ = RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
    assert out_of_memory(error)
    assert not out_of_memory(RuntimeError("shapes differ"))
