"""The records of executions, ``mlruns/executions/<id>.json``: how they are written, read, and closed after a kill.

Beside each record lies ``<id>.lock``, on which the process that runs the execution holds a lease for as long as it
lives.
"""

import os
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from time import strftime, time_ns

from kdlab.records.files import Record, make_folder, read_json, remove_abandoned, write_json
from kdlab.records.lease import Lease, alive_elsewhere
from kdlab.records.stage_folder import StageFolder

#: An execution of another machine counts as killed if nothing was written to its stages for this many seconds.
FOREIGN_SILENCE = 86_400.0


class Status(StrEnum):
    """The state of an execution or of a stage's run, in MLflow's words."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


@dataclass(frozen=True)
class StageUse:
    """A stage with a seed as one execution used it: trained by that execution, or reused."""

    stage: str
    seed: int
    reused: bool
    folder: StageFolder
    evaluation: str


def new_id() -> str:
    """Return a new execution's id: the time at which it began, and four random hexadecimal digits."""
    return f"{strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def now() -> int:
    """Return the present time in milliseconds since 1970."""
    return time_ns() // 10**6


@dataclass(frozen=True)
class Execution:
    """One run of an experiment or one trial of a sweep, and the stage folders that it uses.

    Attributes:
        id: unique in ``mlruns``.
        experiment: the experiment's name; for a trial, the name of the sweep's experiment in MLflow.
        evaluation: the hash of how its stages are tested.
        uses: the stages that it uses, in order.
        config: the experiment's resolved configuration.
        data: what the data hold; None where that is not known.
        status: one of ``Status``.
        started: in milliseconds since 1970, or a date if an older kdlab wrote it.
        ended: in the same form as ``started``; None while the execution runs.
        provenance: command and machine, which only an older kdlab wrote here.
    """

    id: str
    experiment: str
    evaluation: str
    uses: list[StageUse]
    config: Record = field(repr=False)
    data: Record | None = None
    status: str = Status.RUNNING
    started: float | str | None = field(default_factory=now)
    ended: float | str | None = None
    provenance: Record = field(default_factory=dict)

    @property
    def stages(self) -> list[str]:
        """The names of the stages, each once, in the order in which the execution uses them."""
        return list(dict.fromkeys(use.stage for use in self.uses))

    def of(self, stage: str) -> list[StageUse]:
        """Return the uses of one stage, ordered by seed."""
        return sorted((use for use in self.uses if use.stage == stage), key=lambda use: use.seed)

    def tested(self, use: StageUse) -> dict[str, float]:
        """Return the test metrics of one use, under the evaluation by which this execution tests it.

        The dictionary is empty if there is no such test, or if the stage folder is not whole. Metrics without a value
        are left out.
        """
        if use.folder.fault is not None:
            return {}
        result = use.folder.test_result(use.evaluation)
        metrics = {} if result is None else result.metrics
        return {key: float(value) for key, value in metrics.items() if value is not None}

    def begin(self, mlruns: Path) -> Lease:
        """Write the record as running, and return the lease that shows that this process is alive, for ``end``."""
        make_folder(mlruns / "executions")
        lease = Lease(_path(mlruns, self.id).with_suffix(".lock"))
        lease.hold()
        self._write(mlruns)
        return lease

    def end(self, mlruns: Path, status: Status, lease: Lease) -> None:
        """Write the record with its final status and time, and give the lease back."""
        replace(self, status=status, ended=now())._write(mlruns)
        lease.end()

    def _write(self, mlruns: Path) -> None:
        record = {
            "id": self.id,
            "experiment": self.experiment,
            "started": self.started,
            "ended": self.ended,
            "status": self.status,
            "host": socket.gethostname(),
            "stages": [
                {
                    "stage": use.stage,
                    "seed": use.seed,
                    "fingerprint": use.folder.fingerprint,
                    "evaluation": use.evaluation,
                    "reused": use.reused,
                }
                for use in self.uses
            ],
            "config": self.config,
            "evaluation": self.evaluation,
            "data": self.data,
        }
        write_json(_path(mlruns, self.id), record)


def executions(mlruns: Path, experiment: str | None = None) -> Iterator[Execution]:
    """Yield the executions of one experiment, or of all if none is named, the newest first."""
    records = [record for path in (mlruns / "executions").glob("*.json") if (record := read_json(path))]
    of_it = [record for record in records if experiment is None or record.get("experiment") == experiment]
    for record in sorted(of_it, key=lambda record: (str(record.get("started")), str(record["id"])), reverse=True):
        yield _execution(mlruns, record)


def read_execution(mlruns: Path, identity: str) -> Execution | None:
    """Return the execution with this id, or None if its file is missing or damaged."""
    record = read_json(_path(mlruns, identity))
    return None if record is None else _execution(mlruns, record)


def _path(mlruns: Path, identity: str) -> Path:
    return mlruns / "executions" / f"{identity}.json"


def _execution(mlruns: Path, record: Record) -> Execution:
    uses = [
        StageUse(
            stage=str(item["stage"]),
            seed=int(item["seed"]),
            reused=bool(item.get("reused")),
            folder=StageFolder(mlruns / "stages" / item["fingerprint"]),
            evaluation=str(item.get("evaluation") or record.get("evaluation", "")),
        )
        for item in record.get("stages", [])
    ]
    return Execution(
        id=str(record["id"]),
        experiment=str(record["experiment"]),
        evaluation=str(record.get("evaluation", "")),
        uses=uses,
        config=record.get("config", {}),
        data=record.get("data"),
        status=str(record.get("status", Status.RUNNING)),
        started=record.get("started"),
        ended=record.get("ended"),
        provenance=record.get("provenance", {}),
    )


def settle_killed(mlruns: Path, *further: Path) -> None:
    """Close the executions of processes that are gone as KILLED, and remove the files that they wrote only in part.

    Each command does this first, so that no execution seems to run for ever and no stage is kept for one. A folder that
    this user may not write to is left as it is.

    Args:
        mlruns: the folder.
        further: folders outside ``mlruns`` that may hold partly written files too.
    """
    if os.access(mlruns, os.W_OK):
        _close_killed(mlruns)
    for folder in (*_folders(mlruns), *further):
        if os.access(folder, os.W_OK):
            remove_abandoned(folder)


def _close_killed(mlruns: Path) -> None:
    folder = mlruns / "executions"
    # Locks are looked for too: a process that was killed before it wrote its record has left only the lock.
    for path in sorted({path.with_suffix(".json") for kind in ("*.json", "*.lock") for path in folder.glob(kind)}):
        lease = Lease(path.with_suffix(".lock"))
        if not (_runs(path) or lease.path.exists()) or _runs_elsewhere(mlruns, path) or not lease.take():
            continue
        record = read_json(path)  # read again, since its writer may have finished before the lease was taken
        if record is not None and record.get("status") == Status.RUNNING:
            ended = _last_written(mlruns, path, record)
            write_json(path, {**record, "status": Status.KILLED, "ended": int(1000 * ended)})
        lease.end()


def _runs(path: Path) -> bool:
    """Return whether a record says that its execution runs, without parsing the configuration inside it."""
    return path.exists() and b'"status": "RUNNING"' in path.read_bytes()


def _runs_elsewhere(mlruns: Path, path: Path) -> bool:
    record = read_json(path)
    if record is None:
        return False
    return alive_elsewhere(record.get("host"), _last_written(mlruns, path, record), FOREIGN_SILENCE)


def _last_written(mlruns: Path, path: Path, record: Record) -> float:
    """Return when the record or one of its stage folders was last written to, in seconds since 1970.

    A folder's own time changes when a file is put in its place there.
    """
    folders = [mlruns / "stages" / str(stage["fingerprint"]) for stage in record.get("stages", [])]
    return max(place.stat().st_mtime for place in (path, *folders) if place.exists())


def _folders(mlruns: Path) -> Iterator[Path]:
    """Yield all folders below ``mlruns`` except MLflow's artifacts, to which only MLflow writes."""
    for name, folders, _ in os.walk(mlruns):
        if Path(name) == mlruns and "artifacts" in folders:
            folders.remove("artifacts")
        yield Path(name)
