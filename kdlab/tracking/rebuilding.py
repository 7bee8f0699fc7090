"""Making the database inside ``mlruns`` anew from the stage folders and the records of executions."""

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

#: Endings of the database's file and of the files that SQLite puts beside it.
BESIDE = ("", "-journal", "-wal", "-shm")


def rebuild(mlruns: Path, parents: Callable[[Store], dict[str, str]]) -> Path:
    """Move the database and its artifacts aside, make both anew, and return the folder of the old ones.

    Every run of a stage, an execution or a sweep gets a new id, and the same points, parameters, tags, status, times
    and files, from the records. What only the database had is not taken over: runs that are not kdlab's, what was
    written or deleted on MLflow's pages, and stages whose folder was deleted. If this is killed, the same command
    begins it again. A process that has the old database open continues to use that one.

    Args:
        mlruns: The folder.
        parents: Makes the runs of sweeps in a store, and returns their ids by the sweep's name.

    Raises:
        ConfigurationError: If an execution is running, because its runs would be split between both databases.
        One of ``failures()``: If no database can be made.
    """
    names = {path.stem for folder in ("tracking", "executions") for path in (mlruns / folder).glob("*.json")}
    # ``home.json`` holds the identity of the folder, and is no execution's record.
    records = [record for name in sorted(names - {"home"}) if (record := read_record(mlruns, name, LOCAL)) is not None]
    records = [record for record in records if record["uri"] == LOCAL]
    check_idle(mlruns, records)
    aside = put_aside(mlruns)
    for memory in (mlruns / "stages").glob("*/tracking.json"):
        write_json(memory, {key: state for key, state in (read_json(memory) or {}).items() if key != LOCAL})
    # The markers say that the processes were killed long ago with nothing sent, so that ``settle`` sends everything.
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
    parents(store)  # only now is it known which trials were best
    return aside


def check_idle(mlruns: Path, records: Sequence[Record]) -> None:
    """Refuse to continue while an execution is running on this machine or, as far as can be seen, on another.

    Raises:
        ConfigurationError: If one is running.
    """
    for record in records:
        marker = marker_of(mlruns, record["execution"])
        if marker.exists() and (tracked_elsewhere(record, marker) or not Lease(marker).free()):
            raise ConfigurationError(
                f"the execution {record['execution']} is running in {mlruns} on {record['host']}; rebuild when it has "
                "ended, or stop it first"
            )


def put_aside(mlruns: Path) -> Path:
    """Move the database and the artifacts to a new folder beside them, and return that folder."""
    aside = mlruns / f"aside-{time.strftime('%Y%m%d-%H%M%S')}"
    with FileLock(mlruns / "tracking" / "start.lock", timeout=120):
        aside.mkdir()
        for name in (*(f"mlflow.db{end}" for end in BESIDE), "artifacts"):
            if (mlruns / name).exists():
                (mlruns / name).rename(aside / name)
    return aside
