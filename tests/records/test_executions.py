"""What a killed process leaves is settled by whatever command comes next, and nothing of a living one is touched."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdlab.__main__ import main
from kdlab.records.cleaning import leftovers
from kdlab.records.executions import settle_killed
from kdlab.records.files import replacing
from tests.experiments import written
from tests.stage_folders import begin_stage, write_execution

#: Begins an execution, opens a scratch file in its stage's folder, and waits with both.
WRITER = """
import sys, time
from pathlib import Path
from kdlab.records.files import replacing
from kdlab.records.executions import Execution, StageUse
from kdlab.records.stage_folder import StageFolder
mlruns, stage = Path(sys.argv[1]), sys.argv[2]
use = StageUse("student", 0, False, StageFolder(mlruns / "stages" / stage), "e1")
lease = Execution("id", "digits", "e1", [use], {}).begin(mlruns)
with replacing(mlruns / "stages" / stage / "model.safetensors") as scratch:
    scratch.write_bytes(b"half of it")
    print("writing", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    mlruns = tmp_path / "mlruns"
    command = [sys.executable, "-c", WRITER, str(mlruns), begin_stage(mlruns).name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        yield process
        process.kill()


def scratches(mlruns: Path) -> list[Path]:
    """Half-written files, but for the database that the thread of this very process may still be making."""
    return [path for path in mlruns.rglob(".*") if path.is_file() and not path.name.startswith(".new-")]


def statuses(mlruns: Path) -> list[str]:
    return [json.loads(path.read_text())["status"] for path in (mlruns / "executions").glob("*.json")]


def test_what_a_living_process_writes_stays_and_what_a_killed_one_wrote_goes(
    tmp_path: Path, writer: "subprocess.Popen[str]"
) -> None:
    mlruns = tmp_path / "mlruns"
    settle_killed(mlruns)
    assert len(scratches(mlruns)) == 1
    assert statuses(mlruns) == ["RUNNING"]
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    settle_killed(mlruns)
    assert scratches(mlruns) == []
    assert statuses(mlruns) == ["KILLED"]
    (record,) = (mlruns / "executions").iterdir()
    assert json.loads(record.read_text())["ended"] <= time.time() * 1000


@pytest.mark.parametrize("last", ["record", "stage"])
def test_a_killed_execution_ended_when_anything_of_it_was_last_written(last: str, tmp_path: Path) -> None:
    mlruns = left(tmp_path)
    record = mlruns / "executions" / "gone.json"
    (stage,) = (mlruns / "stages").iterdir()
    for name, path in (("record", record), ("stage", stage)):
        seconds = 1_700_000_500 if name == last else 1_700_000_100
        os.utime(path, (seconds, seconds))
    settle_killed(mlruns)
    assert json.loads(record.read_text())["ended"] == 1_700_000_500_000


def left(tmp_path: Path) -> Path:
    """What a killed execution leaves: a record that says RUNNING, its lock's file, and half of a file."""
    mlruns = tmp_path / "mlruns"
    stage = begin_stage(mlruns)
    write_execution(mlruns, [stage], "gone", status="RUNNING", host=socket.gethostname())
    (mlruns / "executions" / "gone.lock").touch()
    (stage / ".model.safetensors.0123abcd").write_bytes(b"half")
    return mlruns


@pytest.mark.parametrize(
    "command",
    [["run"], ["plan"], ["report"], ["sweep"], ["sweep-report"], ["clean"], ["ui", "--port", "1"]],
    ids=lambda command: command[0],
)
def test_every_command_settles_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    monkeypatch.setattr("kdlab.stages.rehearsal.rehearse_stages", lambda *arguments: None)
    monkeypatch.setattr("kdlab.tracking.server.ui", lambda *arguments: None)
    monkeypatch.setattr("kdlab.stages.context.Context.plan", lambda context: [])
    from tests.sweep.sweeps import sweep_file

    mlruns = left(tmp_path)
    file = {"sweep": sweep_file(tmp_path), "sweep-report": sweep_file(tmp_path)}.get(command[0], written(tmp_path))
    named = [] if command[0] in ("clean", "ui") else [str(file)]
    monkeypatch.setattr("kdlab.sweep.check.check_sweep", no_search)
    main([*command, *named, "--mlruns", str(mlruns)])
    # The thread that tells MLflow lives on in this very process: it may be writing in its own folder, and imports what
    # it needs, which no other test's end should meet.
    for thread in threading.enumerate():
        if thread.name == "kdlab tracking":
            thread.join(60)
    assert [path for path in scratches(mlruns) if "tracking" not in path.parts] == []
    assert "RUNNING" not in statuses(mlruns)
    assert not (mlruns / "executions" / "gone.lock").exists()


def no_search(*arguments: object) -> None:
    raise ValueError("far enough for this test")


def test_what_only_a_killed_execution_used_can_be_freed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdlab.records.cleaning.YOUNG", -1.0)
    mlruns = left(tmp_path)
    assert list(leftovers(mlruns, trials=False, caches=False)) == []
    settle_killed(mlruns)
    assert [one.path.parent.name for one in leftovers(mlruns, trials=False, caches=False)] == ["stages"]


def test_an_execution_of_another_machine_counts_as_alive_for_a_day(tmp_path: Path) -> None:
    mlruns = left(tmp_path)
    write_execution(mlruns, list((mlruns / "stages").iterdir()), "gone", status="RUNNING", host="another")
    settle_killed(mlruns)
    assert statuses(mlruns) == ["RUNNING"]
    long_ago = time.time() - 2 * 86_400
    for path in (*(mlruns / "stages").iterdir(), *(mlruns / "executions").iterdir()):
        os.utime(path, (long_ago, long_ago))
    settle_killed(mlruns)
    assert statuses(mlruns) == ["KILLED"]


def test_a_finished_execution_and_its_files_are_left_as_they_are(tmp_path: Path) -> None:
    mlruns = tmp_path / "mlruns"
    write_execution(mlruns, [begin_stage(mlruns)])
    with replacing(mlruns / "stages" / "notes.txt") as scratch:
        scratch.write_text("whole")
    before = {path: path.read_bytes() for path in mlruns.rglob("*") if path.is_file()}
    settle_killed(mlruns)
    assert {path: path.read_bytes() for path in mlruns.rglob("*") if path.is_file()} == before
