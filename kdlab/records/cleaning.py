"""What lies in ``mlruns`` that nothing refers to, and freeing it."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kdlab.records.executions import Status, executions
from kdlab.records.lease import Lease
from kdlab.records.stage_folder import StageFolder

#: A stage that was written to within these seconds may belong to somebody who is just starting.
YOUNG = 3600.0


@dataclass(frozen=True)
class Leftover:
    """Something that can be freed.

    Args:
        path: a file or folder.
        why: what it is, in a few words.
        size: bytes.
    """

    path: Path
    why: str
    size: int

    def free(self) -> int:
        """Delete it unless somebody holds it; the bytes that became free."""
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
    """What can be freed.

    Args:
        mlruns: the folder.
        trials: whether trials of sweeps count as leftovers, too; their numbers stay in Optuna and MLflow.
        caches: whether soft labels count, which are made again when they are needed.
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
    """Fingerprints of the stages that a finished execution refers to, or one that is running.

    Args:
        mlruns: the folder.
        plain_only: without the finished trials of sweeps.
    """
    return {
        use.folder.fingerprint
        for execution in executions(mlruns)
        if execution.status == Status.RUNNING
        or (execution.status == Status.FINISHED and not (plain_only and execution.experiment.endswith(" sweeps")))
        for use in execution.uses
    }


def free(folder: Path) -> int:
    """Delete a stage folder unless somebody holds it; the bytes that became free."""
    lock = Lease(folder / "lock")
    if not folder.is_dir() or not lock.take():
        return 0
    size = size_of(folder)
    try:
        with suppress(OSError):  # what may not be deleted stays
            StageFolder(folder).clear()
            lock.path.unlink()
            folder.rmdir()
    finally:
        lock.leave()
    return size - size_of(folder)


def size_of(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _touched(folder: Path) -> float:
    return max((path.stat().st_mtime for path in folder.rglob("*")), default=folder.stat().st_mtime)
