"""Executions, ``mlruns/executions/<id>.json``: written, read, and settled where their process was killed.

A lease on ``<id>.lock`` beside it is held for as long as the process lives.
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

#: An execution of another machine is gone when its stages were silent for these seconds.
FOREIGN_SILENCE = 86_400.0


class Status(StrEnum):
    """How an execution or the run of a stage stands, in MLflow's words."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


@dataclass(frozen=True)
class StageUse:
    """A stage and seed as an execution used it: trained by it, or reused."""

    stage: str
    seed: int
    reused: bool
    folder: StageFolder
    evaluation: str


def new_id() -> str:
    """An id for an execution: when it began, and something that no other has."""
    return f"{strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def now() -> int:
    """Milliseconds since 1970."""
    return time_ns() // 10**6


@dataclass(frozen=True)
class Execution:
    """One call of an experiment, and the stage folders that it names.

    Attributes:
        id: unique in ``mlruns``.
        experiment: its name; a trial's is the sweep's.
        evaluation: hash of how its stages are tested.
        uses: its stages, in order.
        config: of the experiment, resolved.
        data: what the data hold, where that is known.
        status: one of ``Status``.
        started: in milliseconds since 1970, or a date where an older kdlab wrote it.
        ended: likewise, None while it runs.
        provenance: command and machine, where an older kdlab wrote them.
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
        """Names in the order in which the execution has them."""
        return list(dict.fromkeys(use.stage for use in self.uses))

    def of(self, stage: str) -> list[StageUse]:
        """Return the runs of one stage, by seed."""
        return sorted((use for use in self.uses if use.stage == stage), key=lambda use: use.seed)

    def tested(self, use: StageUse) -> dict[str, float]:
        """Return the test metrics of a run under this execution's evaluation, empty if it has none or is not whole."""
        if use.folder.fault is not None:
            return {}
        result = use.folder.test_result(use.evaluation)
        metrics = {} if result is None else result.metrics
        return {key: float(value) for key, value in metrics.items() if value is not None}

    def begin(self, mlruns: Path) -> Lease:
        """Say that it runs, for as long as this process lives or until ``end``, to which the lease is given."""
        make_folder(mlruns / "executions")
        lease = Lease(_path(mlruns, self.id).with_suffix(".lock"))
        lease.hold()
        self._write(mlruns)
        return lease

    def end(self, mlruns: Path, status: Status, lease: Lease) -> None:
        """Say how it ended."""
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
    """Yield the executions, newest first, of one experiment or of all."""
    records = [record for path in (mlruns / "executions").glob("*.json") if (record := read_json(path))]
    of_it = [record for record in records if experiment is None or record.get("experiment") == experiment]
    for record in sorted(of_it, key=lambda record: (str(record.get("started")), str(record["id"])), reverse=True):
        yield _execution(mlruns, record)


def read_execution(mlruns: Path, identity: str) -> Execution | None:
    """Return one execution by its id, None if there is no such file."""
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
        lease = Lease(path.with_suffix(".lock"))
        if not (_runs(path) or lease.path.exists()) or _runs_elsewhere(mlruns, path) or not lease.take():
            continue
        record = read_json(path)  # as it is now that nobody writes it
        if record is not None and record.get("status") == Status.RUNNING:
            ended = _last_written(mlruns, path, record)
            write_json(path, {**record, "status": Status.KILLED, "ended": int(1000 * ended)})
        lease.end()


def _runs(path: Path) -> bool:
    """Whether a record says so, without reading all configurations that were ever run."""
    return path.exists() and b'"status": "RUNNING"' in path.read_bytes()


def _runs_elsewhere(mlruns: Path, path: Path) -> bool:
    record = read_json(path)
    if record is None:
        return False
    return alive_elsewhere(record.get("host"), _last_written(mlruns, path, record), FOREIGN_SILENCE)


def _last_written(mlruns: Path, path: Path, record: Record) -> float:
    """When the record or anything in its stages was written; a folder's own time is that of its last file."""
    folders = [mlruns / "stages" / str(stage["fingerprint"]) for stage in record.get("stages", [])]
    return max(place.stat().st_mtime for place in (path, *folders) if place.exists())


def _folders(mlruns: Path) -> Iterator[Path]:
    """All folders below but those of MLflow's artifacts, which MLflow alone writes."""
    for name, folders, _ in os.walk(mlruns):
        if Path(name) == mlruns and "artifacts" in folders:
            folders.remove("artifacts")
        yield Path(name)
