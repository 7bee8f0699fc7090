"""One execution in MLflow: its parent run, and the record by which a later start closes what a killed process left.

``mlruns/tracking/<execution>.json`` is the record; ``<execution>.open`` exists until the store has everything, and is
locked for as long as the process lives. The kernel lifts the lock however the process ends.
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from kdlab.stage_folder import Record, StageFolder, read_json, write_json
from kdlab.tracking.folders import Execution, read_execution
from kdlab.tracking.sender import PARAMETERS, Sender, cleaned, find_run, log_metrics, metrics_of, written
from kdlab.tracking.store import Store

logger = logging.getLogger(__name__)

# Locks of another machine may be invisible here; it touches its file after every epoch.
FOREIGN_SILENCE = 600.0
DESCRIPTION = 7900


def record_of(mlruns: Path, execution: str) -> Path:
    """Return where the record of an execution stands."""
    return mlruns / "tracking" / f"{execution}.json"


def marker_of(mlruns: Path, execution: str) -> Path:
    """Return the file that is locked while the execution lives."""
    return mlruns / "tracking" / f"{execution}.open"


class ExecutionRun:
    """The parent run of an execution, and the runs of its stages.

    Args:
        store: The opened store.
        record: The execution's record, see ``new_record``.
        change: Puts values in the record and writes it.
    """

    def __init__(self, store: Store, record: Record, change: Callable[[Mapping[str, object]], None]) -> None:
        self.store, self.record, self._change = store, record, change
        self.parent = self._open_parent()
        self._senders: dict[str, Sender] = {}

    def sender(self, folder: Path) -> Sender:
        """Return the sender of a stage folder, opened at its first use."""
        if folder.name not in self._senders:
            record = self.record
            self._senders[folder.name] = Sender(
                self.store, folder, record["experiment"], record["execution"], self.parent, record["tags"]
            )
        return self._senders[folder.name]

    def tell(self, name: str, status: str | None) -> None:
        """Send the points of a stage folder, or with a status all that it has; one that was freed has nothing."""
        folder = self.store.mlruns / "stages" / name
        if not (folder / "stage.json").exists():
            return
        if status is None:
            self.sender(folder).points(running=True)
        else:
            self.sender(folder).everything(status)

    def catch_up(self, closing: bool) -> None:
        """Send all that the stage folders have; when closing, also end runs that this execution left running."""
        for name in self.record["folders"]:
            folder = self.store.mlruns / "stages" / name
            if not (folder / "stage.json").exists():
                continue
            sender = self.sender(folder)
            if StageFolder(folder).done is not None:
                sender.everything("FINISHED")
            elif closing and sender.state["executions"][0] == self.record["execution"]:
                ended = self.record["ended"].get(name, "KILLED")
                sender.everything("KILLED" if ended == "FINISHED" else ended)

    def close(self) -> None:
        """Give the parent its summary and its status.

        What is sent, and of which time, is on disk before: sent again after a kill it is the same, and MLflow keeps it
        once.
        """
        from mlflow.entities import Param, RunTag

        client, record = self.store.client, self.record
        decided: Record = {"finished": record["finished"] or int(time.time() * 1000)}
        if record["means"] is None:
            execution = read_execution(self.store.mlruns, record["execution"])
            decided["means"] = {} if execution is None else stage_means(execution)
        self._change(decided)
        ended = record["finished"]
        log_metrics(self.store, self.parent, metrics_of(record["means"], ended, 0))
        text = f"{record['description']}\n\n{self._links()}".strip()
        log_metrics(self.store, self.parent, metrics_of(record["metrics"], ended, 0))
        tags = {"mlflow.note.content": text[:DESCRIPTION], **record["outcome"]}
        parameters = [Param(cleaned(key), written(value)) for key, value in record["parameters"].items()]
        client.log_batch(self.parent, params=parameters[:PARAMETERS], tags=[RunTag(k, v) for k, v in tags.items()])
        for file in map(Path, record["files"]):
            if file.exists():
                client.log_artifact(self.parent, str(file))
        client.set_terminated(self.parent, record["status"], end_time=ended)

    def _links(self) -> str:
        """Return Markdown links to the runs of the stages, as many as a description holds."""
        room = DESCRIPTION - len(self.record["description"]) - 100
        lines = []
        for sender in self._senders.values():
            stage, state = sender.stage, sender.state
            address = f"#/experiments/{state['experiment_id']}/runs/{state['run_id']}"
            line = f"[{stage.get('stage')} seed {stage.get('seed')}]({address})"
            room -= len(line) + 3
            if room > 0:
                lines.append(line)
        return f"Runs: {' · '.join(lines)}" if lines else ""

    def _open_parent(self) -> str:
        record, client = self.record, self.store.client
        experiment = self.store.experiment(record["experiment"])
        run = find_run(self.store, record["parents"].get(self.store.key))
        if run is None:
            here = f"{self.store.home}/executions/{record['execution']}"
            found = client.search_runs([experiment], f"tags.`kdlab.folder` = '{here}'", max_results=1)
            tags = record["tags"] | {"kdlab.folder": here, "execution": record["execution"], "kind": "execution"}
            run = (
                found[0]
                if found
                else client.create_run(
                    experiment,
                    start_time=record["started"],
                    run_name=record["name"],
                    tags=tags,
                )
            )
            # Also where it was found: its process may have been killed before this.
            client.log_dict(run.info.run_id, record["config"], "config.yaml")
        self._change({"parents": {**record["parents"], self.store.key: run.info.run_id}})
        return str(run.info.run_id)


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
        "status": "RUNNING",
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
    found = read_execution(mlruns, execution)
    if found is None:
        return None
    made = new_record(found.experiment, execution, key, found.record.get("config", {}), {})
    known = {"status": found.status, "finished": _milliseconds(found.ended), "pid": 0}
    return made | known | {"started": _milliseconds(found.started) or made["started"]}


# Of the values of a record that are not of the kind that a new one has.
KINDS: dict[str, tuple[type, ...]] = {"finished": (int, type(None)), "means": (dict, type(None))}


def _milliseconds(time: float | str | None) -> int | None:
    return int(time) if isinstance(time, int | float) else None


def stage_means(execution: Execution) -> dict[str, float]:
    """Return the mean over seeds of every test metric, as ``<stage>/<metric>``; NaN and missing values are left out."""
    values: dict[str, list[float]] = {}
    for use in execution.uses:
        for key, value in execution.tested(use).items():
            if value == value:
                values.setdefault(f"{use.stage}/{key}", []).append(value)
    return {key: sum(found) / len(found) for key, found in values.items()}


@contextmanager
def abandoned(mlruns: Path, key: str) -> Iterator[list[Record]]:
    """Hold and yield the records of executions whose process is gone and that this store has not all of."""
    held: list[FileLock] = []
    records = []
    try:
        for marker in sorted((mlruns / "tracking").glob("*.open")):
            lock = FileLock(marker, timeout=0)
            record = read_record(mlruns, marker.stem, key)
            if record is not None and (record["uri"] != key or alive_elsewhere(record, marker)):
                continue
            try:
                lock.acquire()
            except Timeout:
                continue
            held.append(lock)
            if record is None:
                logger.warning(
                    "nothing is known of the execution %s but its name, MLflow hears no more of it", marker.stem
                )
                marker.unlink(missing_ok=True)
            else:
                records.append(record)
        # In the order in which they ran, for the newest one names itself in the runs that it used.
        yield sorted(records, key=lambda record: int(record["started"]))
    finally:
        for lock in held:
            lock.release()


def unsent(mlruns: Path) -> set[str]:
    """Fingerprints of the stages of which a store has not everything yet."""
    records = [read_json(record_of(mlruns, marker.stem)) for marker in (mlruns / "tracking").glob("*.open")]
    return {str(name) for record in records if record is not None for name in record.get("folders", [])}


def alive_elsewhere(record: Record, marker: Path) -> bool:
    """Whether another machine, whose locks may be invisible here, has touched its marker not long ago."""
    return record["host"] != socket.gethostname() and time.time() - marker.stat().st_mtime < FOREIGN_SILENCE


def settle(store: Store) -> None:
    """Send and close what earlier processes left open."""
    with abandoned(store.mlruns, store.key) as records:
        for record in records:
            try:
                _settle(store, record)
            except (KeyError, ValueError):
                logger.warning("execution %s has a damaged file, MLflow shows it as it is", record["execution"])
            marker_of(store.mlruns, record["execution"]).unlink(missing_ok=True)


def _settle(store: Store, record: Record) -> None:
    def change(values: Mapping[str, object]) -> None:
        record.update(values)
        write_json(record_of(store.mlruns, record["execution"]), record)

    execution = read_execution(store.mlruns, record["execution"])
    if record["status"] == "RUNNING":
        known = execution.status if execution is not None else "RUNNING"
        record["status"] = "KILLED" if known == "RUNNING" else known
    used = [use.folder.path.name for use in execution.uses] if execution is not None else []
    record["folders"] = list(dict.fromkeys([*record["folders"], *used]))
    run = ExecutionRun(store, record, change)
    run.catch_up(closing=True)
    run.close()
