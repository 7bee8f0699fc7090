"""The news of one execution: the run writes them down, and the courier sends them."""

import threading
from collections.abc import Mapping
from pathlib import Path

from kdlab.records.files import Record, write_json
from kdlab.records.lease import Lease
from kdlab.tracking.executions import ExecutionRun
from kdlab.tracking.records import marker_of, record_of
from kdlab.tracking.store import Store


class News:
    """The record of an execution, and the list of its folders that have something new; two threads use it.

    The record is on disk before anything of it is sent. The marker file beside it stays locked until the store has
    everything, or until this process gives up sending. Another process that finds the marker unlocked sends the rest.

    Args:
        mlruns: The folder.
        record: See ``new_record``.
    """

    def __init__(self, mlruns: Path, record: Record) -> None:
        self.mlruns, self.record = mlruns, record
        self.over = self._told = False
        # By folder: how its stage ended, or None while it trains, and the number of that message.
        self._new: dict[str, tuple[str | None, int]] = {}
        self._messages = 0
        self._changing = threading.Lock()
        self._run: ExecutionRun | None = None
        self._alive = Lease(marker_of(mlruns, record["execution"]))

    def begin(self) -> None:
        """Write the record and lock the marker."""
        self._alive.path.parent.mkdir(parents=True, exist_ok=True)
        self._alive.hold(0)
        self.change({})

    def change(self, values: Mapping[str, object]) -> None:
        """Change values of the record and write it."""
        with self._changing:
            self.record.update(values)
            write_json(record_of(self.mlruns, self.record["execution"]), self.record)

    def add(self, folder: Path, status: str | None) -> None:
        """Note that a folder has new points, or, with a status, that it has everything that it will ever have."""
        record, name = self.record, folder.name
        with self._changing:
            self._messages += 1
            self._new[name] = (status, self._messages)
        if name not in record["folders"]:
            self.change({"folders": [*record["folders"], name]})
        if status is not None:
            self.change({"ended": {**record["ended"], name: status}})
        # Other machines cannot see the lock, and judge by the marker's time whether this process is alive.
        self._alive.path.touch()

    def end(self, values: Mapping[str, object]) -> None:
        """Write the last values of the record; nothing is added after this."""
        self.over = True
        self.change(values)

    def send(self, store: Store) -> None:
        """Send everything new to a store; when the execution is over, also close its run."""
        if self._told:
            return
        if self._run is None or self._run.store is not store:
            self._run = ExecutionRun(store, self.record, self.change)
        while self._new:
            name, message = next(iter(self._new.items()))
            self._run.tell(name, message[0])
            with self._changing:
                if self._new[name] == message:  # else the other thread has added something newer meanwhile
                    del self._new[name]
        if self.over:
            self._run.catch_up(closing=True)
            self._run.close()
            self._alive.end()
            self._told = True

    def told(self) -> bool:
        """Return whether the store has everything."""
        return self._told

    def leave(self) -> None:
        """Leave what was not sent to the next command."""
        self._alive.leave()
