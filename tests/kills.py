"""Killing a process at its k-th operation on files or databases, and what must then be as if it had not been.

A child is forked after all imports, so that a kill costs none. It counts renames, fsyncs, removals, new folders and
commits, and is killed by SIGKILL right before the k-th. What each operation belongs to is read from the call stack.
"""

import json
import os
import signal
import sqlite3
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from sqlalchemy.engine.default import DefaultDialect

OPERATIONS = ("rename", "replace", "fsync", "unlink", "remove", "rmdir", "mkdir")
#: What an operation belongs to, by the innermost function or module on the stack that says so.
SCENES = {
    ("soft_labels", ""): "soft labels",
    ("context", "_soft_labels"): "soft labels",
    ("training", "finish"): "finish",
    ("stage_folder", "finish"): "finish",
    ("checkpoints", ""): "training",
    ("scoring", ""): "test",
    ("report", "report"): "report",
    ("page", ""): "sweep's end",
    ("best", ""): "sweep's end",
    ("sweeps", "conclude"): "sweep's end",
    ("study", "join"): "sweep's begin",
    ("tracker", ""): "tracking",
    ("sender", ""): "tracking",
    ("store", ""): "tracking",
    ("executions", ""): "executions",
    ("keeping", ""): "sweep's keeping",
    ("worker", ""): "sweep's trials",
    ("trial", ""): "sweep's trials",
}


def scene_of(frame: FrameType | None) -> str:
    """What the running operation belongs to."""
    while frame is not None:
        module, name = str(frame.f_globals.get("__name__", "")), frame.f_code.co_name
        if module.startswith("kdlab."):
            last = module.rpartition(".")[2]
            if module.startswith("kdlab.sweep.tracking"):
                return "sweep's begin" if name == "open" else "sweep's end"
            if ".tracking." in module:
                return "tracking"
            found = SCENES.get((last, name)) or SCENES.get((last, ""))
            if found is not None:
                return found
        frame = frame.f_back
    return "else"


class Counted:
    """Counts the operations of this process, and kills it right before one of them.

    Args:
        kill_at: the number of that operation, from 1; 0 kills at none.
        notes: where each operation's scene is written, a line each.
    """

    def __init__(self, kill_at: int, notes: int) -> None:
        self._kill_at, self._notes = kill_at, notes
        self._count, self._lock = 0, threading.RLock()

    def install(self) -> None:
        """Wrap the operations for the rest of this process's life."""
        for name in OPERATIONS:
            setattr(os, name, self._wrapped(getattr(os, name)))
        DefaultDialect.do_commit = self._wrapped(DefaultDialect.do_commit)  # type: ignore[method-assign]

    def _wrapped(self, do: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            with self._lock:
                self._count += 1
                if self._count == self._kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                os.write(self._notes, f"{scene_of(sys._getframe(1))}\n".encode())
            return do(*arguments, **named)

        return counted


def forked(action: Callable[[], object], log: Path, kill_at: int | None = None) -> tuple[bool, list[str]]:
    """Run an action in a child; whether it came to its end, and the scenes of its operations if they were counted.

    Args:
        action: what to do; an error fails the test with what was said.
        log: where the child's output goes.
        kill_at: the operation before which it is killed, 0 for none, None where nothing is counted.
    """
    notes = log.with_suffix(".operations")
    child = os.fork()
    if child == 0:
        _live(action, log, notes, kill_at)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, log.read_text()
        return False, []
    assert os.WEXITSTATUS(status) == 0, log.read_text()
    return True, notes.read_text().splitlines() if kill_at is not None else []


def _live(action: Callable[[], object], log: Path, notes: Path, kill_at: int | None) -> None:
    code = 1
    torch.set_num_threads(1)
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1)
        signal.alarm(120)  # a child that hangs fails the test
        if kill_at is not None:
            Counted(kill_at, os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)).install()
        action()
        code = 0
    except BaseException:  # noqa: BLE001  whatever it is, the child must never go on as a second pytest
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def stages_of(mlruns: Path) -> dict[str, Any]:
    """All that a user would look at, by stage folder: files, logged numbers, chosen epoch, test scores, weights."""
    found = {}
    for folder in sorted((mlruns / "stages").iterdir()):
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        done = json.loads((folder / "done.json").read_text())
        tests = {path.name: json.loads(path.read_text())["metrics"] for path in folder.glob("test-*.json")}
        found[folder.name] = {
            "files": sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != "lock"),
            "logged": [(line["step"], line["epoch"], line["metrics"]) for line in lines],
            "done": {name: done[name] for name in ("epoch", "best", "steps")},
            "tested": {name: costless(metrics) for name, metrics in tests.items()},
            "weights": (folder / "model.safetensors").read_bytes(),
        }
    return found


def costless(metrics: dict[str, float]) -> dict[str, float]:
    """Without times and memory, which differ from run to run."""
    return {name: value for name, value in metrics.items() if "cost/" not in name}


def points_of(mlruns: Path) -> tuple[dict[str, Counter[Any]], list[str]]:
    """The points of each stage's MLflow run by its fingerprint, and the statuses of all runs; none may be doubled."""
    with closing(sqlite3.connect(mlruns / "mlflow.db")) as connection:
        names = dict(connection.execute("SELECT run_uuid, value FROM tags WHERE key = 'fingerprint'").fetchall())
        rows = connection.execute("SELECT run_uuid, key, step, value, is_nan FROM metrics").fetchall()
        statuses = [status for (status,) in connection.execute("SELECT status FROM runs")]
    twice = {place: n for place, n in Counter(row[:3] for row in rows).items() if n > 1}
    assert not twice, f"{len(twice)} points stand twice: {list(twice)[:3]}"
    points: dict[str, Counter[Any]] = {name: Counter() for name in names.values()}
    assert len(points) == len(names), "a stage has two runs"
    for run, key, step, value, nan in rows:
        if run in names and "cost/" not in key:
            points[names[run]][key, step, "NaN" if nan else value] += 1
    return points, statuses


def check_nothing_is_left(mlruns: Path) -> None:
    """No scratch file, no lock that nobody needs, nothing that seems to run."""
    hidden = [str(path) for path in mlruns.rglob(".*") if path.is_file()]
    assert hidden == []
    records = [json.loads(path.read_text()) for path in (mlruns / "executions").glob("*.json")]
    assert {record["status"] for record in records} <= {"FINISHED", "KILLED"}, records
    assert not list((mlruns / "executions").glob("*.lock"))
    assert not list((mlruns / "tracking").glob("*.open"))


def check_equal(killed: Path, whole: Path) -> None:
    """What is there after a kill and another run is what an undisturbed run leaves."""
    stages, expected = stages_of(killed), stages_of(whole)
    assert stages.keys() == expected.keys()
    for name, stage in stages.items():
        for part, value in stage.items():
            assert value == expected[name][part], (name, part)
    points, statuses = points_of(killed)
    wanted, _ = points_of(whole)
    assert points == wanted
    assert set(statuses) <= {"FINISHED", "KILLED"}, statuses
    check_nothing_is_left(killed)
