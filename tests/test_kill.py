"""kill -9 at random moments of a real experiment, rerun each time: the end is that of an undisturbed run."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
KILLS = 10

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def start(mlruns: Path, epochs: int) -> "subprocess.Popen[str]":
    """The command as a user types it, with two seeds and enough epochs for a checkpoint in most stages."""
    options = ["--seeds", "2", "--accelerator", "cpu", "--mlruns", str(mlruns)]
    # Whether a probe is explained depends on what was trained before, here every seven epochs or so.
    options += ["--set", "evaluate.every=null", "evaluate.probe=16"]
    options += ["--set", f"trainer.max_epochs={epochs}", "--set", f"teacher.trainer.max_epochs={epochs}"]
    command = [sys.executable, "-m", "kdlab", "run", "experiments/digits.yaml", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def kept(mlruns: Path) -> dict[str, Any]:
    """All that a user would look at, by stage folder: logged numbers, chosen epoch, test scores, weights."""
    found = {}
    for folder in sorted((mlruns / "stages").iterdir()):
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        done = json.loads((folder / "done.json").read_text())
        (tested,) = (json.loads(path.read_text())["metrics"] for path in folder.glob("test-*.json"))
        found[folder.name] = (
            [(line["step"], line["epoch"], line["metrics"]) for line in lines],
            {name: done[name] for name in ("epoch", "best", "steps")},
            {name: value for name, value in tested.items() if not name.startswith("cost/")},
            (folder / "model.safetensors").read_bytes(),
        )
    return found


def test_a_run_that_is_killed_ten_times_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    started = time.monotonic()
    undisturbed = start(tmp_path / "whole", 40)
    said, _ = undisturbed.communicate()
    assert undisturbed.returncode == 0, said
    seconds = time.monotonic() - started

    draw = random.Random(0)
    for _ in range(KILLS):
        process = start(tmp_path / "killed", 40)
        try:
            process.communicate(timeout=draw.uniform(0.1, 0.9) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    last = start(tmp_path / "killed", 40)
    said, _ = last.communicate()
    assert last.returncode == 0, said

    whole, killed = kept(tmp_path / "whole"), kept(tmp_path / "killed")
    assert whole.keys() == killed.keys()
    for name in whole:
        assert whole[name] == killed[name], name
    check_tracking(tmp_path / "killed" / "mlflow.db", stages=len(whole))
    shutil.rmtree(tmp_path / "whole")


def check_tracking(database: Path, stages: int) -> None:
    """One run a stage and seed, nothing left running, no point twice."""
    with sqlite3.connect(database) as connection:
        running = connection.execute("SELECT count(*) FROM runs WHERE status = 'RUNNING'").fetchone()
        runs = connection.execute("SELECT count(DISTINCT run_uuid) FROM tags WHERE key = 'fingerprint'").fetchone()
        twice = connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM metrics GROUP BY run_uuid, key, step HAVING count(*) > 1)"
        ).fetchone()
    assert (running, runs, twice) == ((0,), (stages,), (0,))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_polite_stop_closes_the_runs_and_goes_on_later(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path / "mlruns", 200)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "mlruns").glob("stages/*/resume.ckpt")):
        assert time.monotonic() < deadline, "no stage lasts until its first checkpoint"
        time.sleep(0.2)
    process.send_signal(number)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "the same command goes on where it was" in said
    assert "Traceback" not in said
    with sqlite3.connect(tmp_path / "mlruns" / "mlflow.db") as connection:
        statuses = {status for (status,) in connection.execute("SELECT status FROM runs")}
    assert "KILLED" in statuses
    assert "RUNNING" not in statuses
    (record,) = (json.loads(path.read_text()) for path in (tmp_path / "mlruns" / "executions").glob("*.json"))
    assert record["status"] == "KILLED"
