"""``kdlab clean``: what lies in ``mlruns`` that nothing finished refers to, and freeing it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from kdlab.records.executions import Status, executions
from kdlab.sweep.keeping import free, referenced, size_of

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
        lock = FileLock(self.path.parent / "lock", timeout=0)
        try:
            with lock:
                self.path.unlink(missing_ok=True)
        except Timeout:
            return 0
        return self.size


def leftovers(mlruns: Path, trials: bool, caches: bool) -> Iterator[Leftover]:
    """What can be freed.

    Args:
        mlruns: the folder.
        trials: whether trials of sweeps count as leftovers, too; their numbers stay in Optuna and MLflow.
        caches: whether soft labels count, which are made again when they are needed.
    """
    kept = referenced(mlruns, plain_only=trials) | _running(mlruns)
    for folder in sorted((mlruns / "stages").glob("*")):
        if not folder.is_dir():
            continue
        if folder.name not in kept and time.time() - _touched(folder) > YOUNG:
            yield Leftover(folder, "no finished execution refers to it", size_of(folder))
        elif caches:
            for file in folder.glob("soft_labels.*"):
                yield Leftover(file, "soft labels, made again when needed", file.stat().st_size)


def _running(mlruns: Path) -> set[str]:
    """Stages of executions that have not ended, trials included."""
    return {use.folder.fingerprint for one in executions(mlruns) if one.status == Status.RUNNING for use in one.uses}


def _touched(folder: Path) -> float:
    return max((path.stat().st_mtime for path in folder.rglob("*")), default=folder.stat().st_mtime)
