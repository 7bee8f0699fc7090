"""What an execution has to tell: written down by the run, told by the courier."""

import threading
from collections.abc import Mapping
from pathlib import Path

from kdlab.records.files import Record, write_json
from kdlab.records.lease import Lease
from kdlab.tracking.executions import ExecutionRun
from kdlab.tracking.records import marker_of, record_of
from kdlab.tracking.store import Store


class News:
    """The record of an execution, and which of its folders have something new; used by two threads.

    The record is on disk before anything of it is sent. The marker beside it is locked until the store has everything,
    or until nobody here will tell it; whoever finds it unlocked sends the rest.

    Args:
        mlruns: The folder.
        record: See ``new_record``.
    """

    def __init__(self, mlruns: Path, record: Record) -> None:
        self.mlruns, self.record = mlruns, record
        self.over = self._told = False
        # By folder: how its stage ended, None while it trains; and which message that is.
        self._new: dict[str, tuple[str | None, int]] = {}
        self._messages = 0
        self._changing = threading.Lock()
        self._run: ExecutionRun | None = None
        self._alive = Lease(marker_of(mlruns, record["execution"]))

    def begin(self) -> None:
        """Write the record and hold the marker."""
        self._alive.path.parent.mkdir(parents=True, exist_ok=True)
        self._alive.hold(0)
        self.change({})

    def change(self, values: Mapping[str, object]) -> None:
        """Put values in the record, and write it."""
        with self._changing:
            self.record.update(values)
            write_json(record_of(self.mlruns, self.record["execution"]), self.record)

    def add(self, folder: Path, status: str | None) -> None:
        """Say that a folder has points, or with a status that it has all that it will have."""
        record, name = self.record, folder.name
        with self._changing:
            self._messages += 1
            self._new[name] = (status, self._messages)
        if name not in record["folders"]:
            self.change({"folders": [*record["folders"], name]})
        if status is not None:
            self.change({"ended": {**record["ended"], name: status}})
        self._alive.path.touch()

    def end(self, values: Mapping[str, object]) -> None:
        """Put the last values in the record; nothing is added any more."""
        self.over = True
        self.change(values)

    def send(self, store: Store) -> None:
        """Tell a store what is new, and all that is missing when it is over."""
        if self._told:
            return
        if self._run is None or self._run.store is not store:
            self._run = ExecutionRun(store, self.record, self.change)
        while self._new:
            name, message = next(iter(self._new.items()))
            self._run.tell(name, message[0])
            with self._changing:
                if self._new[name] == message:  # nothing newer came meanwhile
                    del self._new[name]
        if self.over:
            self._run.catch_up(closing=True)
            self._run.close()
            self._alive.end()
            self._told = True

    def told(self) -> bool:
        """Whether the store has everything."""
        return self._told

    def leave(self) -> None:
        """Leave the rest to the next command."""
        self._alive.leave()
