"""The sweep's run in MLflow is closed, also when its launcher could not do it."""

import logging
import os
import signal
import time
from pathlib import Path

import pytest
from optuna.trial import create_trial

from kdlab.records.files import read_json, write_json
from kdlab.sweep.study import EXECUTION
from kdlab.sweep.study_place import place_of
from kdlab.sweep.tracking import SweepRun, close_abandoned, rebuilt, record_of_sweep
from kdlab.tracking.records import record_of
from kdlab.tracking.store import Store
from tests.sweep.sweeps import sweep_file
from tests.sweep.test_workers import start, wait_for, workers_of
from tests.tracking.broken_servers import black_hole


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One MLflow database for all: making one takes seconds."""
    mlruns: Path = tmp_path_factory.mktemp("tracking") / "mlruns"
    mlruns.mkdir()
    return Store(mlruns)


def status(store: Store, run: str | None) -> str:
    assert run is not None
    return str(store.client.get_run(run).info.status)


def begun(store: Store, name: str) -> SweepRun:
    sweep = SweepRun(place_of(name, None, store.mlruns), "made_up sweeps")
    sweep.open()
    return sweep


def files(store: Store, name: str) -> list[str]:
    found = (store.mlruns / "sweeps" / name).glob("*")
    return sorted(path.suffix for path in found if path.suffix != ".lock" and path.name != "mlflow.json")


def dies(sweep: SweepRun) -> None:
    """The kernel lifts the lock of a process that was killed."""
    sweep._alive.leave()
    sweep._alive.path.touch()


def test_what_a_killed_launcher_left_of_a_file_goes_when_the_sweep_is_closed(store: Store) -> None:
    sweep = begun(store, "half-sent")
    kept = store.mlruns / "artifacts" / "made_up_sweeps" / str(sweep.id) / "artifacts"
    kept.mkdir(parents=True)
    (kept / ".artifact.uploading.1kz6y1ej").write_text("half")
    (kept / "page.html").write_text("whole")
    sweep.close("FINISHED", {})
    assert [path.name for path in kept.iterdir()] == ["page.html"]


def test_the_run_of_a_dead_launcher_is_closed_as_killed(store: Store) -> None:
    sweep = begun(store, "dead")
    close_abandoned(store.mlruns)
    assert status(store, sweep.id) == "RUNNING"
    dies(sweep)
    close_abandoned(store.mlruns)
    assert status(store, sweep.id) == "KILLED"
    assert files(store, "dead") == []


def test_a_sweep_that_ends_again_says_what_has_not_changed_once(store: Store) -> None:
    for trials in (2.0, 2.0, 3.0):
        sweep = begun(store, "again")
        time.sleep(0.002)  # the next end is at another millisecond
        sweep.close("FINISHED", {"best/accuracy": 0.5, "trials": trials})
    assert sweep.id is not None
    points = {name: store.client.get_metric_history(sweep.id, name) for name in ("best/accuracy", "trials")}
    assert [point.value for point in points["best/accuracy"]] == [0.5]
    assert sorted(point.value for point in points["trials"]) == [2.0, 3.0]


def test_a_trial_that_is_no_longer_the_best_loses_its_mark(store: Store) -> None:
    experiment, runs = store.experiment("made_up sweeps"), {}
    for execution in ("first", "second"):
        runs[execution] = store.client.create_run(experiment, tags={"sweep": "marked"}).info.run_id
        write_json(record_of(store.mlruns, execution), {"parents": {store.key: runs[execution]}})
    for execution in ("first", "second"):
        begun(store, "marked").close("FINISHED", {}, best=[create_trial(value=0.5, user_attrs={EXECUTION: execution})])
        marked = [name for name, run in runs.items() if "best" in store.client.get_run(run).data.tags]
        assert marked == [execution]


def test_it_stays_open_while_another_launcher_works_at_it(store: Store) -> None:
    first, second = begun(store, "two"), begun(store, "two")
    assert first.id == second.id
    dies(first)
    close_abandoned(store.mlruns)
    assert status(store, first.id) == "RUNNING"
    second.close("FINISHED", {})
    close_abandoned(store.mlruns)
    assert status(store, first.id) == "FINISHED"
    assert files(store, "two") == []


def test_launchers_of_other_machines_and_runs_of_other_stores_are_left_alone(store: Store) -> None:
    sweep = begun(store, "foreign")
    dies(sweep)
    word = sweep._alive.path.with_suffix(".json")
    for path, change in ((word, {"host": "elsewhere"}), (record_of_sweep(word.parent), {"store": "https://other"})):
        record = read_json(path) or {}
        write_json(path, record | change)
        close_abandoned(store.mlruns)
        assert status(store, sweep.id) == "RUNNING"
        write_json(path, record)
    record = read_json(record_of_sweep(word.parent)) or {}
    # It died between its last word and MLflow's answer.
    write_json(record_of_sweep(word.parent), record | {"status": "FINISHED", "metrics": {"trials": 3.0}})
    close_abandoned(store.mlruns)
    assert status(store, sweep.id) == "FINISHED"
    assert store.client.get_run(str(sweep.id)).data.metrics == {"trials": 3.0}


def test_a_server_that_says_nothing_holds_a_sweep_up_for_two_seconds_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with black_hole() as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address.replace("://", "://me:s3cr3t@"))
        sweep = SweepRun(place_of("silent", None, tmp_path / "mlruns"), "made_up sweeps")
        started = time.monotonic()
        assert sweep.open() is None
        sweep.close("FINISHED", {"trials": 1.0})
        assert time.monotonic() - started < 2 * 2.0 + 6.0
    assert all("s3cr3t" not in path.read_text() for path in tmp_path.rglob("*.json"))
    assert len([record for record in caplog.records if record.name.startswith("kdlab")]) == 2
    assert "s3cr3t" not in caplog.text
    monkeypatch.delenv("MLFLOW_TRACKING_URI")


def test_a_rebuilt_sweep_has_its_numbers_and_its_trials_under_it(store: Store) -> None:
    sweep = begun(store, "again")
    sweep.close("FINISHED", {"trials": 2.0}, "text")
    store.client.delete_run(str(sweep.id))
    made = rebuilt(store)["again"]
    run = store.client.get_run(made)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"trials": 2.0})
    assert run.data.tags["mlflow.note.content"] == "text"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_workers_of_a_killed_launcher_close_its_run(tmp_path: Path) -> None:
    path = sweep_file(tmp_path, fixed={"student.trainer.max_epochs": 80}, pruner=None)
    launcher = start(path, 3, "--workers", "2")
    wait_for(lambda: any((tmp_path / "mlruns" / "stages").glob("*/resume.ckpt")))
    workers = workers_of(launcher)
    os.kill(launcher.pid, signal.SIGKILL)
    launcher.wait()
    wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    store = Store(tmp_path / "mlruns")
    (run,) = store.client.search_runs([store.experiment("made_up sweeps")], "tags.kind = 'sweep'")
    assert run.info.status == "KILLED"
