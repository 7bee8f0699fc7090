"""The folder of one stage and seed: the truth about it. MLflow and the report are views of it."""

import json
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from filelock import FileLock

from kdlab.records.files import Record, digest, make_folder, read_json, to_disk, write_json
from kdlab.records.stage_records import Done, StageRecord, TestResult

#: What a finished stage is made of, besides ``done.json``, which holds the size and the digest of each; weights always.
PARTS = ("model.safetensors", "metrics.jsonl", "committed.json", "stage.json")


@dataclass(frozen=True)
class StageFolder:
    """Files of one stage and seed: ``mlruns/stages/<fingerprint>/``; each is written in one atomic step."""

    path: Path

    @property
    def fingerprint(self) -> str:
        """The hash of everything that decides the outcome."""
        return self.path.name

    @property
    def resume(self) -> Path:
        """Lightning's checkpoint, for going on after a stop; gone when the stage is done."""
        return self.path / "resume.ckpt"

    @property
    def journal(self) -> Path:
        """What was logged, a JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def weights(self) -> Path:
        """The chosen epoch's weights, the model's and the explainer's."""
        return self.path / "model.safetensors"

    @property
    def record(self) -> StageRecord | None:
        """What it is; None before its training begins, or where ``stage.json`` is damaged."""
        return StageRecord.read(self.path)

    @property
    def done(self) -> Done | None:
        """How its training ended; None while it is not finished.

        The folder is proved each time: one that does not hold what ``finish`` found there is not finished.
        """
        return None if self.fault is not None else Done.read(self.path)

    @property
    def fault(self) -> str | None:
        """Why a folder that says that it is finished is not whole; None if it is, or does not say so."""
        if not (self.path / "done.json").exists():
            return None
        done = Done.read(self.path)
        if done is None or not done.files:
            return "done.json is damaged or of an older kdlab"
        faults = (self._fault_of(name, told) for name, told in done.files.items())
        return next((fault for fault in faults if fault is not None), None)

    def _fault_of(self, name: str, told: Record) -> str | None:
        path = self.path / name
        try:
            size = path.stat().st_size
            if size != told["size"]:
                return f"{name} has {size} bytes where {told['size']} were written"
            return None if digest(path) == told["sha256"] else f"{name} does not hold what was written"
        except (FileNotFoundError, NotADirectoryError):
            return f"{name} is missing"
        except (KeyError, TypeError):
            return "done.json is damaged"

    def finish(self, done: Done) -> None:
        """Write ``done.json``, last of all: from here on the stage is finished.

        Raises:
            FileNotFoundError: If there are no weights.
        """
        made = [name for name in PARTS if name == self.weights.name or (self.path / name).exists()]
        files = {name: {"size": (self.path / name).stat().st_size, "sha256": digest(self.path / name)} for name in made}
        replace(done, files=files).write(self.path)
        self.tidy()

    def tidy(self) -> None:
        """Remove what only an unfinished training needs."""
        for name in ("resume.ckpt", "best-*.safetensors", "request.json", "ranks.log"):
            for path in self.path.glob(name):
                path.unlink()

    @property
    def committed(self) -> int:
        """Bytes of the journal that a checkpoint covers: a resumed run never writes these again."""
        return int((read_json(self.path / "committed.json") or {"bytes": 0})["bytes"])

    def commit(self, size: int) -> None:
        """Say how many bytes of the journal a checkpoint covers."""
        write_json(self.path / "committed.json", {"bytes": size})

    def points(self, start: int = 0) -> list[Record]:
        """Return the logged lines from byte ``start`` to the committed end."""
        try:
            with self.journal.open("rb") as file:
                file.seek(start)
                lines = file.read(max(self.committed - start, 0)).splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines if line.strip()]

    def test_result(self, evaluation: str) -> TestResult | None:
        """What the test under an evaluation's hash gave, or None if it was not tested so."""
        return TestResult.read(self.path, evaluation)

    def shown(self, evaluation: str) -> Record | None:
        """What could not be drawn, by picture, with the reason; None while the pictures have not been made."""
        return read_json(self.path / f"shown-{evaluation}.json")

    def tests(self) -> dict[str, TestResult]:
        """Return what the tests gave, by the evaluation's hash."""
        names = [path.stem.removeprefix("test-") for path in sorted(self.path.glob("test-*.json"))]
        return {name: result for name in names if (result := self.test_result(name)) is not None}

    def figures(self) -> list[Path]:
        """Return the pictures by name."""
        return sorted((self.path / "figures").glob("*.png"))

    @contextmanager
    def locked(self, timeout: float = -1) -> Iterator[int]:
        """Only one process at a time trains or tests a stage; others wait here and then find it finished.

        Yields the descriptor of the open lock file: a child process that is handed it holds the lock as well, and
        still does when this process is killed.

        Args:
            timeout: seconds to wait, without end where it is negative.

        Raises:
            Timeout: If another process still holds it.
        """
        lock = FileLock(self.path / "lock", timeout=timeout)
        while not lock.is_locked:
            make_folder(self.path)
            with suppress(FileNotFoundError):  # who held it has freed the whole folder
                lock.acquire()
        try:
            yield cast(int, lock._context.lock_file_fd)  # it has no public name
        finally:
            lock.release()

    def clear(self) -> None:
        """Forget the stage, for training it afresh; the lock stays, and is held by the caller.

        What says that the stage is finished, or may be gone on with, goes first: a kill leaves no folder that seems so.
        """
        self._remove(keep=frozenset({"lock"}))

    def restart(self) -> None:
        """Forget what a training left that has no checkpoint to go on from.

        Where nothing of it was ever committed, what it is and what MLflow knows of it stays: it is the same training.
        """
        begun = {"stage.json", "tracking.json"} if self.committed == 0 else set[str]()
        self._remove(keep=frozenset({"lock", *begun}))

    def _remove(self, keep: Set[str]) -> None:
        for name in ("done.json", "resume.ckpt"):
            if (self.path / name).exists():
                (self.path / name).unlink()
                to_disk(self.path)
        for path in sorted(self.path.rglob("*"), reverse=True):
            if path.name not in keep:
                path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
