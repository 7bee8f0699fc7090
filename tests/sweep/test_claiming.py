"""The number of good trials holds by the storage alone: workers that share no folder may claim at the same time."""

import json
import socket
import subprocess
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna import Study
from optuna.trial import TrialState

from kdlab.stages.options import Options
from kdlab.sweep import study as study_module
from kdlab.sweep import worker
from kdlab.sweep.check import check_sweep
from kdlab.sweep.definition import Sweep
from kdlab.sweep.storage import open_storage
from kdlab.sweep.study import REASON, SIGNATURE, SURPLUS, WORKER, _dead, is_surplus, join, signature
from kdlab.sweep.study_place import StudyPlace, place_of
from kdlab.sweep.trial import Trials
from kdlab.sweep.worker import Target, work
from tests.sweep.sweeps import opened, sweep_file
from tests.sweep.test_postgres import server  # noqa: F401  a fixture
from tests.sweep.test_workers import ROOT, command, environment

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage")  # trials are begun by hand here


@pytest.fixture(autouse=True)
def no_store_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow is away: making its database takes seconds."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/no-such-folder/mlflow.db")


def joined(folder: Path) -> tuple[Sweep, StudyPlace, Options, Study]:
    """A place of its own, whose study lies in a storage outside of it."""
    sweep, place, options = opened(folder)
    place = StudyPlace(place.name, f"sqlite:///{folder / 'shared.db'}", place.mlruns)
    return sweep, place, options, join(sweep, place, check_sweep(sweep, options))


def test_a_worker_of_a_host_whose_name_begins_alike_is_not_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "gpu")
    place = place_of("made_up", None, tmp_path)
    place.folder.mkdir(parents=True)
    verdicts = {}
    for name in ("gpu-17-ab", "gpu-2-17-ab"):
        (place.folder / f"alive-{name}.lock").touch()  # nobody on this machine holds it
        verdicts[name] = _dead(optuna.create_trial(value=1.0, user_attrs={WORKER: name}), place)
    assert verdicts == {"gpu-17-ab": True, "gpu-2-17-ab": False}


def test_a_trial_is_one_too_many_if_those_before_it_make_up_the_target(tmp_path: Path) -> None:
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/study.db")
    study.enqueue_trial({"x": 1.0})
    study.ask()  # 0: running, from the queue
    done, failed = study.ask(), study.ask()
    study.tell(done, 0.5)
    study.tell(failed, state=TrialState.FAIL)
    study.enqueue_trial({"x": 2.0})  # 3: waiting
    study.add_trial(optuna.create_trial(state=TrialState.RUNNING))  # 4
    study.add_trial(optuna.create_trial(state=TrialState.COMPLETE, value=1.0))  # 5
    # Before 4 stand one running, one waiting; two are good, also the later one.
    assert is_surplus(study, 4, 4)
    assert not is_surplus(study, 4, 5)
    # Before 0 stands none, and two are good.
    assert is_surplus(study, 0, 2)
    assert not is_surplus(study, 0, 3)


def test_the_last_trial_taken_twice_is_given_back_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep, place, options, study = joined(tmp_path)
    counts, foreign = worker.counts, []

    def counted(counted_study: Study) -> Counter[TrialState]:
        """Between the look at the study and the claim, another machine claims; by the next look it is done."""
        if foreign:
            study.tell(foreign[0], 0.5)
            return counts(counted_study)
        found = counts(counted_study)
        foreign.append(study.ask())
        foreign[0].set_user_attr("worker", "elsewhere-1-ab")
        return found

    monkeypatch.setattr(worker, "counts", counted)
    work(sweep, place, Trials(sweep, place, options), Target(1))
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    assert states == [TrialState.COMPLETE, TrialState.FAIL]
    assert study.trials[1].user_attrs[REASON] == SURPLUS


def test_values_that_were_asked_for_are_queued_again_when_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, place, options, study = joined(tmp_path)
    counts, foreign = worker.counts, []

    def counted(counted_study: Study) -> Counter[TrialState]:
        found = counts(counted_study)
        if not foreign:  # one that was begun and ended between the look and the claim
            foreign.append(1)
            study.add_trial(optuna.create_trial(state=TrialState.COMPLETE, value=0.5))
        return found

    monkeypatch.setattr(worker, "counts", counted)
    work(sweep, place, Trials(sweep, place, options), Target(1))
    begun, done, again = study.get_trials(deepcopy=False)
    assert (begun.state, done.state, again.state) == (TrialState.FAIL, TrialState.COMPLETE, TrialState.WAITING)
    assert again.system_attrs == begun.system_attrs == {"fixed_params": {"temperature": 2.0, "alpha": 1.0}}
    work(sweep, place, Trials(sweep, place, options), Target(2))
    assert study.trials[2].state == TrialState.COMPLETE
    assert study.trials[2].params == {"temperature": 2.0, "alpha": 1.0}


def test_the_unsigned_trial_of_another_place_is_not_buried(tmp_path: Path) -> None:
    _, place, _, study = joined(tmp_path)
    study.ask()
    with worker.claiming(place):
        worker.fail_dead_trials(study, place)
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING]


def test_who_finds_a_study_that_is_just_being_made_queues_no_second_start(tmp_path: Path) -> None:
    sweep, place, options = opened(tmp_path)
    shared = replace(place, url=f"sqlite:///{tmp_path}/shared.db")
    fingerprints = check_sweep(sweep, options)
    study = optuna.create_study(study_name=place.name, storage=open_storage(shared))

    def begin() -> None:
        study.set_user_attr(SIGNATURE, json.dumps(signature(sweep, fingerprints)))
        study.enqueue_trial(sweep.start[0])

    maker = threading.Timer(1.0, begin)
    maker.start()
    found = join(sweep, shared, fingerprints)
    maker.join()
    assert [trial.state for trial in found.trials] == [TrialState.WAITING]


def test_a_study_whose_maker_died_is_begun_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_module, "BEGINNING", 0.1)
    sweep, place, options = opened(tmp_path)
    fingerprints = check_sweep(sweep, options)
    for one in (place, replace(place, url=f"sqlite:///{tmp_path}/shared.db")):
        optuna.create_study(study_name=place.name, storage=open_storage(one))
        found = join(sweep, one, fingerprints)
        assert [trial.state for trial in found.trials] == [TrialState.WAITING]
        assert SIGNATURE in found.user_attrs


@pytest.mark.parametrize("queued", [0, 1, 2])
def test_a_start_that_its_maker_was_killed_in_is_queued_to_its_end_and_once(tmp_path: Path, queued: int) -> None:
    start = [{"temperature": 2.0, "alpha": 0.5}, {"temperature": 2.0, "alpha": 1.5}]
    sweep, place, options = opened(tmp_path, start=start)
    fingerprints = check_sweep(sweep, options)
    study = optuna.create_study(study_name=place.name, storage=open_storage(place))
    study.set_user_attr(SIGNATURE, json.dumps(signature(sweep, fingerprints)))
    for values in sweep.start[:queued]:
        study.enqueue_trial(values)
    for _ in range(2):
        trials = join(sweep, place, fingerprints).trials
        assert [trial.system_attrs["fixed_params"] for trial in trials] == list(sweep.start)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_places_with_one_storage_never_exceed_the_target(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    shared = f"sqlite:///{tmp_path}/shared.db" if kind == "sqlite" else request.getfixturevalue("server")
    study_name, launchers = f"shared_{kind}", []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        path = sweep_file(tmp_path / name)
        asked = command(path, 6, "--workers", "2", "--storage", shared, "--study", study_name)
        with (tmp_path / f"{name}.log").open("wb") as log:
            launchers.append(subprocess.Popen(asked, cwd=ROOT, env=environment(), stdout=log, stderr=log))
    for launcher in launchers:
        assert launcher.wait(600) == 0, [(tmp_path / f"{name}.log").read_text() for name in ("first", "second")]
    storage = open_storage(place_of(study_name, shared, tmp_path / "look"))
    study = optuna.load_study(study_name=study_name, storage=storage)
    states = Counter(trial.state for trial in study.trials)
    assert states[TrialState.COMPLETE] + states[TrialState.PRUNED] == 6
    assert states[TrialState.RUNNING] == states[TrialState.WAITING] == 0
    storage.remove_session()
    storage.engine.dispose()
