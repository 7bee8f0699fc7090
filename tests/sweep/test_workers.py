"""Workers as processes: they share a study, die, are replaced, and leave no trial behind."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import optuna
import pytest
from optuna import Study
from optuna.trial import TrialState

from kdlab.records.stage_folder import StageFolder
from kdlab.sweep.storage import open_storage
from kdlab.sweep.study import EXECUTION, STAGES, WORKER
from kdlab.sweep.study_place import place_of
from kdlab.workers.machine import Machine, cores, shared
from tests.experiments import written
from tests.sweep.sweeps import sweep_file

ROOT = Path(__file__).parents[2]


def command(path: Path, trials: int, *further: str) -> list[str]:
    mlruns = path.parent / "mlruns"
    options = ["--mlruns", str(mlruns), "--trials", str(trials), "--accelerator", "cpu", "--untested", *further]
    return [sys.executable, "-m", "kdlab", "sweep", str(path), *options]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}


def start(path: Path, trials: int, *further: str) -> subprocess.Popen[bytes]:
    with (path.parent / "launcher.log").open("ab") as log:
        return subprocess.Popen(
            command(path, trials, *further), cwd=ROOT, env=environment(), stdout=log, stderr=subprocess.STDOUT
        )


def study_of(path: Path, **given: Any) -> Study:
    place = place_of("made_up", None, path.parent / "mlruns")
    return optuna.load_study(study_name="made_up", storage=open_storage(place))


def wait_for(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.1)


def workers_of(launcher: subprocess.Popen[bytes]) -> list[int]:
    listed = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    return [int(pid) for pid in listed]


def states(study: Study) -> Counter[TrialState]:
    return Counter(trial.state for trial in study.get_trials(deepcopy=False))


def check_whole(path: Path, trials: int) -> Study:
    """The asked number of good trials, none running or lost, one teacher, and no error of the database."""
    study = study_of(path)
    by_state = states(study)
    assert by_state[TrialState.COMPLETE] + by_state[TrialState.PRUNED] == trials
    assert by_state[TrialState.RUNNING] == by_state[TrialState.WAITING] == 0
    good = [t for t in study.trials if t.state == TrialState.COMPLETE]
    assert len({t.user_attrs[EXECUTION] for t in good}) == len(good)
    folders = [StageFolder(found) for found in (path.parent / "mlruns" / "stages").iterdir() if found.is_dir()]
    assert sum(folder.record is not None and folder.record.stage == "teacher" for folder in folders) == 1
    logs = "".join(log.read_text() for log in (path.parent / "mlruns" / "sweeps" / "made_up").glob("*.log"))
    assert "database is locked" not in logs
    return study


def test_a_machine_shares_its_cores_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    machine = shared(4, 2, "auto")
    assert [machine.environment(index)["CUDA_VISIBLE_DEVICES"] for index in range(4)] == ["3", "5", "3", "5"]
    assert machine.environment(0)["OMP_NUM_THREADS"] == str(max(1, cores() // 4))
    assert shared(None, 2, "auto").workers == 4
    assert shared(3, 1, "cpu") == Machine(3)
    assert shared(3, 1, "cpu").environment(0)["CUDA_VISIBLE_DEVICES"] == ""
    with pytest.raises(Exception, match="let several share one with --per-gpu 3"):
        shared(5, 1, "auto")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_share_a_study_and_two_starters_join_it(tmp_path: Path) -> None:
    path = sweep_file(tmp_path)
    both = [start(path, 8, "--workers", "2"), start(path, 8)]
    for launcher in both:
        assert launcher.wait(300) == 0
    study = check_whole(path, 8)
    assert len({trial.user_attrs[WORKER] for trial in study.trials}) >= 2
    assert (tmp_path / "made_up.best.yaml").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_worker_is_replaced_and_its_trial_resumes_with_the_same_values(tmp_path: Path) -> None:
    path = sweep_file(tmp_path, fixed={"student.trainer.max_epochs": 80}, pruner=None)
    launcher = start(path, 2)
    wait_for((tmp_path / "mlruns" / "optuna.db").exists)
    wait_for(lambda: any((tmp_path / "mlruns" / "stages").glob("*/resume.ckpt")))
    (worker,) = workers_of(launcher)
    os.kill(worker, signal.SIGKILL)
    assert launcher.wait(300) == 0
    study = check_whole(path, 2)
    (dead,) = [trial for trial in study.trials if trial.state == TrialState.FAIL]
    (again,) = [t for t in study.trials if t.system_attrs.get("failed_trial") == dead.number]
    assert again.params == dead.params
    assert again.user_attrs[STAGES] == dead.user_attrs[STAGES]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ctrl_c_leaves_no_trial_running_and_the_next_start_goes_on(tmp_path: Path) -> None:
    path = sweep_file(tmp_path, fixed={"student.trainer.max_epochs": 80}, pruner=None)
    launcher = start(path, 3, "--workers", "2")
    wait_for(lambda: any((tmp_path / "mlruns" / "stages").glob("*/resume.ckpt")))
    workers = workers_of(launcher)
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(90) == 130
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    assert states(study_of(path))[TrialState.RUNNING] == 0
    assert start(path, 3, "--workers", "2").wait(300) == 0
    check_whole(path, 3)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_kills_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    path, random = sweep_file(tmp_path, fixed={"student.trainer.max_epochs": 20}), Random(0)
    for _ in range(10):
        launcher = start(path, 12, "--workers", "2")
        time.sleep(random.uniform(8.0, 25.0))
        if launcher.poll() is not None:
            continue
        victims = workers_of(launcher)
        who = random.choice(["worker", "launcher", "all"])
        if who != "launcher" and victims:
            for victim in victims if who == "all" else victims[:1]:
                os.kill(victim, signal.SIGKILL)
        if who != "worker":
            launcher.kill()
        else:
            time.sleep(5.0)
            launcher.terminate()
        launcher.wait(120)
        wait_for(lambda old=victims: not any(Path(f"/proc/{pid}").exists() for pid in old))  # type: ignore[misc]
    assert start(path, 12, "--workers", "2").wait(600) == 0
    check_whole(path, 12)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_workers_of_a_plain_run_give_the_numbers_of_one_after_the_other(tmp_path: Path) -> None:
    path = written(tmp_path)
    numbers = []
    for workers in ("1", "2"):
        mlruns = tmp_path / f"mlruns-{workers}"
        options = ["--mlruns", str(mlruns), "--accelerator", "cpu", "--workers", workers]
        run = subprocess.run(
            [sys.executable, "-m", "kdlab", "run", str(path), *options],
            cwd=ROOT, env=environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        found = [StageFolder(folder) for folder in (mlruns / "stages").iterdir() if folder.is_dir()]
        numbers.append({folder.fingerprint: (folder.done.best, len(folder.tests())) for folder in found})  # type: ignore[index]
        assistant = mlruns / "sweeps" / "assistants" / "assistant-1.log"
        assert not assistant.exists() or "error" not in assistant.read_text()
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) == 7
