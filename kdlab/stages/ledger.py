"""The record of each execution, ``mlruns/executions/<id>.json``, and settling what a killed one leaves.

``<id>.lock`` beside it is locked for as long as the process lives. The kernel lifts the lock however the process ends.
"""

import os
import secrets
import socket
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import strftime, time, time_ns
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from kdlab.records.files import make_folder, remove_abandoned
from kdlab.records.stage_folder import Record, read_json, write_json

if TYPE_CHECKING:
    from kdlab.configuration.experiment import Experiment
    from kdlab.stages.graph import StageNode

#: Locks of another machine may be invisible here: its execution is gone when its stages were silent for these seconds.
FOREIGN_SILENCE = 86_400.0


@dataclass
class Ledger:
    """The record of one execution in ``mlruns/executions/<id>.json``."""

    mlruns: Path
    experiment: "Experiment"
    stages: list[dict[str, Any]] = field(default_factory=list)
    started: int = field(default_factory=lambda: time_ns() // 10**6)
    id: str = field(default_factory=lambda: f"{strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}")
    name: str = ""  # where it is no run of the experiment itself, but a sweep's trial
    data: dict[str, Any] | None = None  # what they hold, where that is known
    _alive: FileLock | None = None

    def uses(self, nodes: "Sequence[StageNode]", fresh: Collection[str] = ()) -> None:
        """Name the stages, as they are before the first is trained; those of ``fresh`` are trained in any case."""
        self.stages = [
            {
                "stage": node.stage,
                "seed": node.seed,
                "fingerprint": node.fingerprint,
                "evaluation": node.evaluation,
                "reused": node.trained and node.stage not in fresh,
            }
            for node in nodes
        ]

    def begin(self) -> None:
        """Say that it runs, for as long as this process lives or until it ends."""
        make_folder(self._path.parent)
        self._alive = FileLock(self._path.with_suffix(".lock"))
        self._alive.acquire()
        self._write("RUNNING", None)

    def end(self, status: str) -> None:
        """Say how it ended: FINISHED, FAILED or KILLED."""
        self._write(status, time_ns() // 10**6)
        if self._alive is not None:
            _forget(self._alive)

    @property
    def _path(self) -> Path:
        return self.mlruns / "executions" / f"{self.id}.json"

    def _write(self, status: str, ended: int | None) -> None:
        record = {
            "id": self.id,
            "experiment": self.name or self.experiment.name,
            "started": self.started,
            "ended": ended,
            "status": status,
            "host": socket.gethostname(),
            "stages": self.stages,
            "config": self.experiment.resolved,
            "evaluation": self.experiment.evaluation_hash(),
            "data": self.data,
        }
        write_json(self._path, record)


def settle_killed(mlruns: Path, *further: Path) -> None:
    """Close the executions of processes that are gone as KILLED, and remove the files that they had half written.

    Each command does this first, so that nothing seems to run for ever, and nothing is kept for it. A folder that may
    only be read is left as it is.

    Args:
        mlruns: the folder.
        further: folders outside in which whole files are written, too.
    """
    if os.access(mlruns, os.W_OK):
        _close_killed(mlruns)
    for folder in (*_folders(mlruns), *further):
        if os.access(folder, os.W_OK):
            remove_abandoned(folder)


def _close_killed(mlruns: Path) -> None:
    folder = mlruns / "executions"
    for path in sorted({path.with_suffix(".json") for kind in ("*.json", "*.lock") for path in folder.glob(kind)}):
        lock = FileLock(path.with_suffix(".lock"), timeout=0)
        if not (_runs(path) or Path(lock.lock_file).exists()) or _alive_elsewhere(mlruns, path):
            continue
        try:
            lock.acquire()
        except Timeout:
            continue
        record = read_json(path)  # as it is now that nobody writes it
        if record is not None and record.get("status") == "RUNNING":
            ended = max(path.stat().st_mtime, *_touched(mlruns, record))
            write_json(path, {**record, "status": "KILLED", "ended": int(1000 * ended)})
        _forget(lock)


def _runs(path: Path) -> bool:
    """Whether a record says so, without reading all configurations that were ever run."""
    return path.exists() and b'"status": "RUNNING"' in path.read_bytes()


def _alive_elsewhere(mlruns: Path, path: Path) -> bool:
    record = read_json(path)
    if record is None or record.get("host") == socket.gethostname():
        return False
    return time() - max(path.stat().st_mtime, *_touched(mlruns, record)) < FOREIGN_SILENCE


def _touched(mlruns: Path, record: Record) -> list[float]:
    """When anything was last written in each of an execution's stages; a folder's own time is that of its last file."""
    folders = [mlruns / "stages" / str(stage["fingerprint"]) for stage in record.get("stages", [])]
    return [folder.stat().st_mtime for folder in folders if folder.exists()] or [0.0]


def _forget(lock: FileLock) -> None:
    """Remove the file of a lock that is held."""
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def _folders(mlruns: Path) -> Iterator[Path]:
    """All folders below but those of MLflow's artifacts, which MLflow alone writes."""
    for name, folders, _ in os.walk(mlruns):
        if Path(name) == mlruns and "artifacts" in folders:
            folders.remove("artifacts")
        yield Path(name)
