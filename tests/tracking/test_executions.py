import json
import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.stage_folders import begin_stage, complete_stage, log_epoch, write_execution
from tests.tracking.reading import dies, files, history, runs, sent, stage_runs, tracked


def test_the_parent_carries_means_description_links_and_report(mlruns: Path, tmp_path: Path) -> None:
    folders = [begin_stage(mlruns, seed=seed) for seed in (0, 1)]
    tracker = tracked(mlruns)
    for folder, accuracy in zip(folders, (0.8, 0.9), strict=True):
        complete_stage(folder, {"test/accuracy": accuracy, "test/fidelity/agreement": float("nan")}, files=False)
        tracker.finish(folder)
    write_execution(mlruns, folders)
    (tmp_path / "report.html").write_text("<p>")
    tracker.end("FINISHED", "| stage |", [tmp_path / "report.html"])
    (parent,) = runs(mlruns, "tags.kind = 'execution'")
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics == {"student/test/accuracy": pytest.approx(0.85)}
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith("| stage |")
    children = stage_runs(mlruns)
    assert all(run.info.run_id in note for run in children)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {file.path for file in files(mlruns, parent, "")} == {"config.yaml", "report.html"}


def test_artifacts_are_found_after_the_folder_moved(mlruns: Path, tmp_path: Path) -> None:
    folder = begin_stage(mlruns)
    complete_stage(folder)
    tracker = tracked(mlruns)
    tracker.finish(folder)
    tracker.end()
    moved = tmp_path / "änother place"
    mlruns.rename(moved)
    again = tracked(moved, "run2")
    again.finish(moved / "stages" / folder.name)
    again.end()
    (run,) = stage_runs(moved)
    assert {file.path for file in files(moved, run, "weights")} == {"weights/model.safetensors"}
    assert str(moved) in run.info.artifact_uri
    assert not mlruns.exists()


def test_a_server_that_is_away_costs_one_warning_and_the_next_start_catches_up(
    mlruns: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = begin_stage(mlruns)
    database_file = mlruns / "mlflow.db"
    database_file.rename(mlruns / "away")
    database_file.mkdir()  # no database can be opened here
    caplog.set_level(logging.WARNING)
    tracker = tracked(mlruns)
    complete_stage(folder)
    tracker.sync(folder)
    tracker.finish(folder)
    write_execution(mlruns, [folder])
    tracker.end("FINISHED", "text")
    warnings = [record for record in caplog.records if record.name.startswith("kdlab")]
    assert len(warnings) == 1
    assert "\n" not in warnings[0].getMessage()
    database_file.rmdir()
    (mlruns / "away").rename(database_file)
    tracked(mlruns, "run2").end()
    (run,) = stage_runs(mlruns)
    assert run.info.status == "FINISHED"
    assert len(history(mlruns, run)) == 3
    (parent,) = runs(mlruns, "tags.kind = 'execution' and tags.execution = 'run1'")
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["mlflow.note.content"].startswith("text")


def test_a_refused_connection_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = begin_stage(tmp_path)
    complete_stage(folder)
    tracker = tracked(tmp_path, uri=f"http://127.0.0.1:{port}")
    for _ in range(3):
        tracker.sync(folder)
    tracker.finish(folder)
    tracker.end()
    assert len([record for record in caplog.records if record.name.startswith("kdlab")]) == 1
    assert tracker.link() is None


def test_what_a_killed_process_left_running_is_closed_at_the_next_start(mlruns: Path) -> None:
    done, begun = begin_stage(mlruns, "teacher"), begin_stage(mlruns)
    killed = tracked(mlruns)
    complete_stage(done)
    killed.finish(done)
    log_epoch(begun, 0)
    killed.sync(begun)
    write_execution(mlruns, [done, begun], status="RUNNING")
    sent(killed)
    other = tracked(mlruns, "run2")  # the first one is alive still
    sent(other)
    assert len(runs(mlruns, "attributes.status = 'RUNNING'")) == 3
    dies(killed)
    tracked(mlruns, "run3").end()
    assert {run.info.status for run in stage_runs(mlruns)} == {"KILLED"}
    assert {run.info.status for run in stage_runs(mlruns, "teacher")} == {"FINISHED"}
    (parent,) = runs(mlruns, "tags.kind = 'execution' and tags.execution = 'run1'")
    assert parent.info.status == "KILLED"
    other.end()
    assert runs(mlruns, "attributes.status = 'RUNNING'") == []


def test_another_machines_silent_execution_is_left_alone_until_it_is_old(mlruns: Path) -> None:
    killed = tracked(mlruns)
    dies(killed)
    record = mlruns / "tracking" / "run1.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"host": "elsewhere"}))
    tracked(mlruns, "run2").end()
    assert len(runs(mlruns, "attributes.status = 'RUNNING'")) == 1
    old = time.time() - 3600
    os.utime(mlruns / "tracking" / "run1.open", (old, old))
    tracked(mlruns, "run3").end()
    assert runs(mlruns, "attributes.status = 'RUNNING'") == []


def test_a_damaged_folder_of_an_earlier_run_does_not_stop_tracking(
    mlruns: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = begin_stage(mlruns)
    killed = tracked(mlruns)
    complete_stage(folder)
    killed.sync(folder)
    dies(killed)
    (folder / "metrics.jsonl").write_text("garbage\n" * 99)
    (folder / "tracking.json").unlink()
    sent(tracked(mlruns, "run2"))
    assert "damaged" in caplog.text
    assert len(runs(mlruns, "tags.execution = 'run2'")) == 1


def test_importing_tracking_does_not_import_mlflow() -> None:
    program = "import sys, kdlab.tracking.tracker; assert 'mlflow' not in sys.modules and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


FIRST_START = """
import sys
from pathlib import Path
from kdlab.tracking.tracker import Tracker
tracker = Tracker(Path(sys.argv[1]), "digits")
tracker.begin(sys.argv[2], {}, {})
assert tracker.end()
"""


KILLED = """
import os, signal, sys
from pathlib import Path
from kdlab.tracking.tracker import Tracker
tracker = Tracker(Path(sys.argv[1]), "digits")
tracker.begin("killed", {}, {})
tracker.sync(Path(sys.argv[2]))
tracker._courier._thread.join()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_process_killed_for_good_leaves_nothing_running(mlruns: Path) -> None:
    folder = begin_stage(mlruns)
    log_epoch(folder, 0)
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(mlruns), str(folder)]
    assert subprocess.run(command, check=False).returncode == -9
    assert len(runs(mlruns, "attributes.status = 'RUNNING'")) == 2
    tracked(mlruns).end()
    assert runs(mlruns, "attributes.status = 'RUNNING'") == []


@pytest.mark.slow
def test_several_processes_start_at_once_on_a_new_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FIRST_START, str(tmp_path / "mlruns")]
    started = [subprocess.Popen([*command, f"run{n}"], stderr=subprocess.PIPE, text=True) for n in range(4)]
    assert [process.communicate()[1] for process in started] == [""] * 4
    assert [process.returncode for process in started] == [0] * 4
    assert len(runs(tmp_path / "mlruns")) == 4
