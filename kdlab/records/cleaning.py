"""Find what can be deleted from ``mlruns`` because nothing refers to it any more, and delete it."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kdlab.records.executions import Status, executions
from kdlab.records.lease import Lease
from kdlab.records.stage_folder import StageFolder

#: A stage that was written to within this many seconds may belong to an execution that is just starting.
YOUNG = 3600.0


@dataclass(frozen=True)
class Leftover:
    """A file or folder that can be deleted.

    Args:
        path: the file or folder.
        why: the reason for which it can be deleted, in a few words.
        size: its size on disk, in bytes.
    """

    path: Path
    why: str
    size: int

    def free(self) -> int:
        """Delete it, and return how many bytes became free: 0 if another process holds the lock of its stage folder."""
        if self.path.is_dir():
            return free(self.path)
        lock = Lease(self.path.parent / "lock")
        if not lock.take():
            return 0
        try:
            self.path.unlink(missing_ok=True)
        finally:
            lock.leave()
        return self.size


def leftovers(mlruns: Path, trials: bool, caches: bool) -> Iterator[Leftover]:
    """Yield stage folders that no finished execution refers to and, where ``caches`` asks for it, soft labels.

    Args:
        mlruns: the folder.
        trials: whether finished trials of sweeps count as leftovers too; their numbers stay in Optuna and MLflow.
        caches: whether soft labels count; they are computed again when they are needed.
    """
    kept = referenced(mlruns, plain_only=trials)
    for folder in sorted((mlruns / "stages").glob("*")):
        if not folder.is_dir():
            continue
        if folder.name not in kept and time.time() - _touched(folder) > YOUNG:
            yield Leftover(folder, "no finished execution refers to it", size_of(folder))
        elif caches:
            for file in folder.glob("soft_labels.*"):
                yield Leftover(file, "soft labels, made again when needed", file.stat().st_size)


def referenced(mlruns: Path, plain_only: bool) -> set[str]:
    """Return the fingerprints of the stages that a finished or a running execution refers to.

    Args:
        mlruns: the folder.
        plain_only: whether finished trials of sweeps are passed over.
    """
    return {
        use.folder.fingerprint
        for execution in executions(mlruns)
        if execution.status == Status.RUNNING
        or (execution.status == Status.FINISHED and not (plain_only and execution.experiment.endswith(" sweeps")))
        for use in execution.uses
    }


def free(folder: Path) -> int:
    """Delete a stage folder, and return how many bytes became free: 0 if it is missing or its lock is held."""
    lock = Lease(folder / "lock")
    if not folder.is_dir() or not lock.take():
        return 0
    size = size_of(folder)
    try:
        with suppress(OSError):  # a file that this user may not delete stays, and its folder with it
            # The lock stays until the rest is gone, so that nobody begins in a folder that is half deleted.
            StageFolder(folder).clear()
            lock.path.unlink()
            folder.rmdir()
    finally:
        lock.leave()
    return size - size_of(folder)


def size_of(folder: Path) -> int:
    """Return the size of all files below a folder, in bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _touched(folder: Path) -> float:
    return max((path.stat().st_mtime for path in folder.rglob("*")), default=folder.stat().st_mtime)
