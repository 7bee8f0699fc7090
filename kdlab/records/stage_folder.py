"""The folder of one stage with one seed: the only source of its results. MLflow and the report are views of it."""

import json
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from filelock import FileLock

from kdlab.records.files import Record, digest, make_folder, read_json, to_disk, write_json
from kdlab.records.stage_records import Done, StageRecord, TestResult

#: The files of a finished stage whose sizes and digests ``done.json`` holds; only the weights are always there.
PARTS = ("model.safetensors", "metrics.jsonl", "committed.json", "stage.json")


@dataclass(frozen=True)
class StageFolder:
    """The files of one stage with one seed, ``mlruns/stages/<fingerprint>/``; each is written in one atomic step."""

    path: Path

    @property
    def fingerprint(self) -> str:
        """The hash of everything that decides the stage's outcome."""
        return self.path.name

    @property
    def resume(self) -> Path:
        """The path of Lightning's checkpoint for going on after a stop; it is removed when the stage is done."""
        return self.path / "resume.ckpt"

    @property
    def journal(self) -> Path:
        """The path of the log of the training, one JSON object on each line."""
        return self.path / "metrics.jsonl"

    @property
    def weights(self) -> Path:
        """The path of the chosen epoch's weights, those of the model and of its explainer."""
        return self.path / "model.safetensors"

    @property
    def record(self) -> StageRecord | None:
        """The description of the stage; None before its training begins, or if ``stage.json`` is damaged."""
        return StageRecord.read(self.path)

    @property
    def done(self) -> Done | None:
        """The record of how the training ended; None if it is not finished.

        The folder is checked each time: if its files differ from those that ``finish`` found, it counts as not
        finished.
        """
        return None if self.fault is not None else Done.read(self.path)

    @property
    def fault(self) -> str | None:
        """What is wrong with a folder that is marked as finished; None if nothing is, or if it is not marked so."""
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
        """Write ``done.json`` as the last file; from then on the stage is finished.

        Raises:
            FileNotFoundError: If there are no weights.
        """
        made = [name for name in PARTS if name == self.weights.name or (self.path / name).exists()]
        files = {name: {"size": (self.path / name).stat().st_size, "sha256": digest(self.path / name)} for name in made}
        replace(done, files=files).write(self.path)
        self.tidy()

    def tidy(self) -> None:
        """Remove the files that only an unfinished training needs."""
        for name in ("resume.ckpt", "best-*.safetensors", "request.json", "ranks.log"):
            for path in self.path.glob(name):
                path.unlink()

    @property
    def committed(self) -> int:
        """How many bytes of the journal a checkpoint covers; a resumed training never writes these again."""
        return int((read_json(self.path / "committed.json") or {"bytes": 0})["bytes"])

    def commit(self, size: int) -> None:
        """Record how many bytes of the journal a checkpoint covers."""
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
        """Return the result of the test under an evaluation's hash, or None if there was no such test."""
        return TestResult.read(self.path, evaluation)

    def shown(self, evaluation: str) -> Record | None:
        """Return what could not be drawn, with the reason, by picture; None if the pictures have not been made yet."""
        return read_json(self.path / f"shown-{evaluation}.json")

    def tests(self) -> dict[str, TestResult]:
        """Return all test results by the evaluation's hash."""
        names = [path.stem.removeprefix("test-") for path in sorted(self.path.glob("test-*.json"))]
        return {name: result for name in names if (result := self.test_result(name)) is not None}

    def figures(self) -> list[Path]:
        """Return the paths of the pictures, sorted by name."""
        return sorted((self.path / "figures").glob("*.png"))

    @contextmanager
    def locked(self, timeout: float = -1) -> Iterator[int]:
        """Hold the folder's lock, so that only one process at a time trains or tests the stage; others wait.

        Yields the descriptor of the open lock file. A child process that is given it holds the lock too, even after
        this process is killed.

        Args:
            timeout: how many seconds to wait; a negative number waits without end.

        Raises:
            Timeout: If another process still holds the lock after that time.
        """
        lock = FileLock(self.path / "lock", timeout=timeout)
        while not lock.is_locked:
            make_folder(self.path)
            with suppress(FileNotFoundError):  # the holder before has deleted the whole folder; make it again
                lock.acquire()
        try:
            yield cast(int, lock._context.lock_file_fd)  # filelock has no public name for it
        finally:
            lock.release()

    def clear(self) -> None:
        """Remove everything but the lock, which the caller holds, so that the stage can be trained afresh.

        The files that mark the stage as finished or as resumable are removed first. A kill therefore never leaves a
        folder that seems finished or resumable and is not.
        """
        self._remove(keep=frozenset({"lock"}))

    def restart(self) -> None:
        """Remove what a training left that has no checkpoint to go on from.

        If nothing of it was ever committed, its description and MLflow's memory of it stay, since it counts as the same
        training.
        """
        begun = {"stage.json", "tracking.json"} if self.committed == 0 else set[str]()
        self._remove(keep=frozenset({"lock", *begun}))

    def _remove(self, keep: Set[str]) -> None:
        for name in ("done.json", "resume.ckpt"):
            if (self.path / name).exists():
                (self.path / name).unlink()
                # A power cut must not bring the mark back after other files are gone.
                to_disk(self.path)
        # In reverse order a folder's content comes before the folder, which must be empty to be removed.
        for path in sorted(self.path.rglob("*"), reverse=True):
            if path.name not in keep:
                path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
