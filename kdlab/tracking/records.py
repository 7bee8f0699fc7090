"""The record of an execution's tracking, from which a later command closes what a killed process left open.

``mlruns/tracking/<execution>.json`` is the record. ``<execution>.open`` exists until the store has everything, and the
process of the execution holds a lease on it.
"""

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from kdlab.records.executions import Status, read_execution
from kdlab.records.files import Record, read_json
from kdlab.records.lease import alive_elsewhere

# Seconds after which another machine counts as gone; while it runs, it touches its marker after every epoch.
FOREIGN_SILENCE = 600.0


def record_of(mlruns: Path, execution: str) -> Path:
    """Return the path of an execution's record."""
    return mlruns / "tracking" / f"{execution}.json"


def marker_of(mlruns: Path, execution: str) -> Path:
    """Return the path of the file that is locked while the execution's process is alive."""
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
    """Return the record of an execution; a damaged one is made anew from the execution's other files.

    Args:
        mlruns: The folder.
        execution: Its id.
        key: The store for which a record that is made anew is meant.

    Returns:
        None if nothing is known of the execution.
    """
    whole = new_record("", execution, key, {}, {})
    # Records of older versions have no means.
    record = {"means": None} | (read_json(record_of(mlruns, execution)) or {})
    if all(name in record and isinstance(record[name], KINDS.get(name, type(whole[name]))) for name in whole):
        return record
    execution_record = read_execution(mlruns, execution)
    if execution_record is None:
        return None
    made = new_record(execution_record.experiment, execution, key, execution_record.config, {})
    ending = {"status": execution_record.status, "finished": _milliseconds(execution_record.ended), "pid": 0}
    return made | ending | {"started": _milliseconds(execution_record.started) or made["started"]}


# Types of those values that may differ from the type that a new record has.
KINDS: dict[str, tuple[type, ...]] = {"status": (str,), "finished": (int, type(None)), "means": (dict, type(None))}


def _milliseconds(time: float | str | None) -> int | None:
    return int(time) if isinstance(time, int | float) else None


def unsent(mlruns: Path) -> set[str]:
    """Return the fingerprints of the stages of which a store does not have everything yet."""
    records = [read_json(record_of(mlruns, marker.stem)) for marker in (mlruns / "tracking").glob("*.open")]
    return {str(name) for record in records if record is not None for name in record.get("folders", [])}


def tracked_elsewhere(record: Record, marker: Path) -> bool:
    """Return whether another machine has recently touched its marker, and so may still be running the execution."""
    return alive_elsewhere(record["host"], marker.stat().st_mtime, FOREIGN_SILENCE)
