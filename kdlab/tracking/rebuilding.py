"""Making the database inside ``mlruns`` anew from what the stage folders and executions have."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock

from kdlab.errors import ConfigurationError
from kdlab.records.files import Record, read_json, write_json
from kdlab.records.lease import Lease
from kdlab.tracking.executions import settle
from kdlab.tracking.records import marker_of, read_record, record_of, tracked_elsewhere
from kdlab.tracking.store import LOCAL, Store, database

#: SQLite's own files beside a database.
BESIDE = ("", "-journal", "-wal", "-shm")


def rebuild(mlruns: Path, parents: Callable[[Store], dict[str, str]]) -> Path:
    """Put the database and its artifacts aside and make both anew; where the old ones lie.

    Every run of a stage, an execution or a sweep gets a new id and, from the records, the same points, parameters,
    tags, status, times and files. What only the database had is left aside: runs that are not kdlab's, what was
    written or deleted on MLflow's pages, and stages of which the folder was freed. What was killed is begun again by
    the same command. A process that had the old database open goes on with that.

    Args:
        mlruns: The folder.
        parents: Makes the runs of sweeps anew in a store and returns their ids by the sweep's name.

    Raises:
        ConfigurationError: If an execution is running, whose runs would be torn apart.
        One of ``failures()``: If no database can be made.
    """
    names = {path.stem for folder in ("tracking", "executions") for path in (mlruns / folder).glob("*.json")}
    records = [record for name in sorted(names - {"home"}) if (record := read_record(mlruns, name, LOCAL)) is not None]
    records = [record for record in records if record["uri"] == LOCAL]
    check_idle(mlruns, records)
    aside = put_aside(mlruns)
    for memory in (mlruns / "stages").glob("*/tracking.json"):
        write_json(memory, {key: state for key, state in (read_json(memory) or {}).items() if key != LOCAL})
    # Marked as if their processes had been killed, long ago, before anything was sent: whoever comes sends it.
    for record in records:
        record["parents"].pop(LOCAL, None)
        write_json(record_of(mlruns, record["execution"]), record)
        marker = marker_of(mlruns, record["execution"])
        marker.touch()
        os.utime(marker, (0, 0))
    store = Store(mlruns, database(mlruns))
    sweeps = parents(store)
    for record in records:
        parent = sweeps.get(record["tags"].get("sweep", ""))
        if parent is not None:
            record["tags"]["mlflow.parentRunId"] = parent
            write_json(record_of(mlruns, record["execution"]), record)
    settle(store)
    parents(store)  # which trials were best is known now
    return aside


def check_idle(mlruns: Path, records: Sequence[Record]) -> None:
    """Refuse while an execution lives, on this machine or, as it seems, on another.

    Raises:
        ConfigurationError: If one does.
    """
    for record in records:
        marker = marker_of(mlruns, record["execution"])
        if marker.exists() and (tracked_elsewhere(record, marker) or not Lease(marker).free()):
            raise ConfigurationError(
                f"the execution {record['execution']} is running in {mlruns} on {record['host']}; rebuild when it has "
                "ended, or stop it first"
            )


def put_aside(mlruns: Path) -> Path:
    """Move the database and the artifacts to a folder beside them, and return it."""
    aside = mlruns / f"aside-{time.strftime('%Y%m%d-%H%M%S')}"
    with FileLock(mlruns / "tracking" / "start.lock", timeout=120):
        aside.mkdir()
        for name in (*(f"mlflow.db{end}" for end in BESIDE), "artifacts"):
            if (mlruns / name).exists():
                (mlruns / name).rename(aside / name)
    return aside
