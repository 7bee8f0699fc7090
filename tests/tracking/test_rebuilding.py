"""A database that is gone or damaged comes back from the folders; what was killed while it was sent is not doubled."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kdlab.__main__ import main
from kdlab.errors import ConfigurationError
from kdlab.tracking.executions import settle
from kdlab.tracking.rebuilding import check_idle, rebuild
from kdlab.tracking.server import caught_up
from kdlab.tracking.store import Store, damage
from kdlab.tracking.tracker import Tracker
from tests.stage_folders import begin_stage, complete_stage, log_epoch, write_execution
from tests.tracking.databases import content
from tests.tracking.reading import dies, runs, tracked


def used(mlruns: Path, template: Path) -> Path:
    """A folder with a finished execution, one that was stopped, one that reuses, and a trial."""
    shutil.copytree(template, mlruns)
    teacher, student, stopped = begin_stage(mlruns, "teacher"), begin_stage(mlruns), begin_stage(mlruns, seed=1)
    first = tracked(mlruns)
    for folder in (teacher, student):
        complete_stage(folder)
        first.finish(folder)
    page = mlruns / "reports" / "report.html"
    page.parent.mkdir()
    page.write_text("<p>")
    write_execution(mlruns, [teacher, student])
    assert first.end("FINISHED", "| stage |", [page])
    second = tracked(mlruns, "run2")
    second.finish(teacher)
    log_epoch(stopped, 0)
    second.sync(stopped)
    second.finish(stopped, "KILLED")
    write_execution(mlruns, [teacher, stopped], "run2", status="KILLED")
    assert second.end("KILLED")
    trial = Tracker(mlruns, "digits sweeps")
    trial.begin("study-0000", {"name": "digits"}, {"commit": "abc"}, "study trial 0")
    trial.finish(student)
    trial.note({"student.alpha": 0.5}, {"objective/accuracy": 0.9}, {"kind": "trial", "state": "COMPLETE"})
    write_execution(mlruns, [student], "study-0000", experiment="digits sweeps", reused=True)
    assert trial.end()
    return mlruns


WAYS = {
    "garbage": lambda whole: b"garbage" * 999,
    "cut": lambda whole: whole[: len(whole) // 2],
    "empty": lambda whole: b"",
    "zeros inside": lambda whole: whole[:4096] + bytes(len(whole) - 4096),
}
# Processes of their own, for MLflow keeps the connections to a file that it has opened, also when it is moved.
RUN = """
import sys
from pathlib import Path
from kdlab.tracking.tracker import Tracker
for folder in sys.argv[1:]:
    tracker = Tracker(Path(folder), "digits")
    tracker.begin("run3", {}, {})
    assert not tracker.end()
"""
REBUILD = """
import sys
from pathlib import Path
from kdlab.sweep.tracking import rebuilt
from kdlab.tracking.rebuilding import rebuild
for folder in sys.argv[1:]:
    rebuild(Path(folder), rebuilt)
"""


@dataclass
class Mended:
    """What was before the damage, what a run said of it, and where it was rebuilt."""

    before: dict[str, Any]
    said: list[str]
    folders: dict[str, Path]


@pytest.fixture(scope="module")
def mended(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Mended:
    root = tmp_path_factory.mktemp("damaged")
    original = used(root / "mlruns", template)
    folders = {how: root / how.replace(" ", "_") / "mlruns" for how in WAYS}
    for how, folder in folders.items():
        shutil.copytree(original, folder)
        (folder / "mlflow.db").write_bytes(WAYS[how]((folder / "mlflow.db").read_bytes()))
    command = [sys.executable, "-W", "ignore", "-c"]
    ran = subprocess.run([*command, RUN, *folders.values()], check=True, stderr=subprocess.PIPE, text=True)
    subprocess.run([*command, REBUILD, *folders.values()], check=True)
    return Mended(content(original / "mlflow.db"), ran.stderr.splitlines(), folders)


@pytest.mark.parametrize("how", WAYS)
def test_damage_is_found_and_the_page_is_refused_with_the_remedy(how: str, mlruns: Path) -> None:
    assert damage(mlruns) is None
    (mlruns / "mlflow.db").write_bytes(WAYS[how]((mlruns / "mlflow.db").read_bytes()))
    with pytest.raises(ConfigurationError, match="kdlab ui --rebuild makes the database anew"):
        caught_up(mlruns)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", WAYS)
def test_a_damaged_database_is_said_with_the_remedy_and_comes_back_as_it_was(how: str, mended: Mended) -> None:
    after = content(mended.folders[how] / "mlflow.db")
    assert len(mended.before) == 7
    for name, run in mended.before.items():
        assert after.pop(name) == run
    (later,) = after.values()  # the run that came upon the damage
    assert later["status"] == "FINISHED"
    assert len(list(mended.folders[how].glob("aside-*/mlflow.db"))) == 1
    assert not list((mended.folders[how] / "tracking").glob("*.open"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_that_comes_upon_it_says_so_in_a_line_and_ends_well(mended: Mended) -> None:
    assert len(mended.said) == len(WAYS)
    assert all("kdlab ui --rebuild" in line for line in mended.said)


def test_nothing_is_rebuilt_under_a_running_execution(mlruns: Path) -> None:
    alive = tracked(mlruns)
    assert alive._news is not None
    record = alive._news.record
    with pytest.raises(ConfigurationError, match="run1 is running"):
        rebuild(mlruns, lambda store: {})
    assert alive.end()
    check_idle(mlruns, [record])


class Killed(BaseException):
    """The process is gone, as by SIGKILL."""


class Counter:
    def __init__(self, last: int) -> None:
        self.count, self.last = 0, last

    def __call__(self) -> None:
        self.count += 1
        if self.count == self.last:
            raise Killed


@pytest.fixture(scope="module")
def left(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a killed process leaves that could send nothing."""
    mlruns = tmp_path_factory.mktemp("left") / "mlruns"
    shutil.copytree(template, mlruns)
    folders = [begin_stage(mlruns, seed=seed) for seed in range(3)]
    tracker = tracked(mlruns)
    for folder in folders[:2]:
        complete_stage(folder)
    log_epoch(folders[2], 0)
    for folder in folders:
        tracker.sync(folder)
    write_execution(mlruns, folders, status="RUNNING")
    dies(tracker)
    shutil.copy(template / "mlflow.db", mlruns / "mlflow.db")
    shutil.rmtree(mlruns / "artifacts", ignore_errors=True)
    for memory in (mlruns / "stages").glob("*/tracking.json"):
        memory.unlink()
    record = json.loads((mlruns / "tracking" / "run1.json").read_text())
    (mlruns / "tracking" / "run1.json").write_text(json.dumps(record | {"parents": {}}))
    return mlruns


def settled(mlruns: Path, left: Path, last: int = 0) -> int:
    """Settle a copy, killed after a call and settled again by another process; how many calls the first one made."""
    shutil.copytree(left, mlruns)
    counter = Counter(last)
    try:
        settle(Store(mlruns, answered=counter))
    except Killed:
        assert list((mlruns / "tracking").glob("*.open"))
        settle(Store(mlruns))
    return counter.count


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_settling_that_is_killed_after_any_call_doubles_nothing(tmp_path: Path, left: Path) -> None:
    calls = settled(tmp_path / "whole" / "mlruns", left)
    assert calls > 30
    whole = content(tmp_path / "whole" / "mlruns" / "mlflow.db", times=False)
    assert {run["status"] for run in whole.values()} == {"FINISHED", "KILLED"}
    for call in range(1, calls + 1):
        folder = tmp_path / f"killed {call}"
        settled(folder / "mlruns", left, call)
        assert content(folder / "mlruns" / "mlflow.db", times=False) == whole, call
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "text", ["{}", "[]", "", "{", '{"uri": "mlruns/mlflow.db", "execution": "run1"}', '{"folders": 3}']
)
@pytest.mark.parametrize("known", [True, False])
def test_a_damaged_record_stops_no_run_and_is_made_anew_where_the_execution_is_known(
    text: str, known: bool, mlruns: Path
) -> None:
    folder = begin_stage(mlruns)
    complete_stage(folder, files=False)
    if known:
        write_execution(mlruns, [folder], "old")
    (mlruns / "tracking" / "old.json").write_text(text)
    (mlruns / "tracking" / "old.open").touch()
    assert tracked(mlruns).end()
    parents = runs(mlruns, "tags.execution = 'old' AND tags.kind = 'execution'")
    assert [run.info.status for run in parents] == (["FINISHED"] if known else [])
    assert not list((mlruns / "tracking").glob("*.open"))
    assert tracked(mlruns, "run2").end()


def test_ui_without_a_folder_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ui", "--mlruns", str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr().err
    assert "there is no folder" in said
    assert "kdlab run" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "nowhere").exists()
