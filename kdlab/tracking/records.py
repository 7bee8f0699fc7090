"""The record of an execution's tracking, by which a later start closes what a killed process left.

``mlruns/tracking/<execution>.json`` is the record; ``<execution>.open`` exists until the store has everything, and a
lease on it is held for as long as the process lives.
"""

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from kdlab.records.executions import Status, read_execution
from kdlab.records.files import Record, read_json
from kdlab.records.lease import alive_elsewhere

# Another machine touches its marker after every epoch.
FOREIGN_SILENCE = 600.0


def record_of(mlruns: Path, execution: str) -> Path:
    """Return where the record of an execution stands."""
    return mlruns / "tracking" / f"{execution}.json"


def marker_of(mlruns: Path, execution: str) -> Path:
    """Return the file that is locked while the execution lives."""
    return mlruns / "tracking" / f"{execution}.open"


def new_record(
    experiment: str, execution: str, uri: str, config: Mapping[str, object], tags: Mapping[str, str]
) -> Record:
    """Return the record of an execution that begins in this process."""
    return {
        "execution": execution,
        "experiment": experiment,
        "uri": uri,
        "config": dict(config),
        "tags": dict(tags),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": int(time.time() * 1000),
        "finished": None,
        "status": Status.RUNNING,
        "folders": [],
        "ended": {},
        "parents": {},
        "description": "",
        "files": [],
        "name": f"{experiment} {execution}",
        "parameters": {},
        "metrics": {},
        "outcome": {},
        "means": None,
    }


def read_record(mlruns: Path, execution: str, key: str) -> Record | None:
    """Return the record of an execution; one that is damaged is made anew from what the execution left.

    Args:
        mlruns: The folder.
        execution: Its id.
        key: The store that a record made anew is meant for.

    Returns:
        None if nothing is known of the execution.
    """
    whole = new_record("", execution, key, {}, {})
    record = {"means": None} | (read_json(record_of(mlruns, execution)) or {})
    if all(name in record and isinstance(record[name], KINDS.get(name, type(whole[name]))) for name in whole):
        return record
    execution_record = read_execution(mlruns, execution)
    if execution_record is None:
        return None
    made = new_record(execution_record.experiment, execution, key, execution_record.config, {})
    ending = {"status": execution_record.status, "finished": _milliseconds(execution_record.ended), "pid": 0}
    return made | ending | {"started": _milliseconds(execution_record.started) or made["started"]}


# Of the values of a record that are not of the kind that a new one has.
KINDS: dict[str, tuple[type, ...]] = {"status": (str,), "finished": (int, type(None)), "means": (dict, type(None))}


def _milliseconds(time: float | str | None) -> int | None:
    return int(time) if isinstance(time, int | float) else None


def unsent(mlruns: Path) -> set[str]:
    """Fingerprints of the stages of which a store has not everything yet."""
    records = [read_json(record_of(mlruns, marker.stem)) for marker in (mlruns / "tracking").glob("*.open")]
    return {str(name) for record in records if record is not None for name in record.get("folders", [])}


def tracked_elsewhere(record: Record, marker: Path) -> bool:
    """Whether another machine has touched its marker not long ago."""
    return alive_elsewhere(record["host"], marker.stat().st_mtime, FOREIGN_SILENCE)
