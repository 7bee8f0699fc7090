"""Where a study keeps what it needs, and how its storage is opened."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy.exc import SQLAlchemyError

from kdlab.configuration.errors import ConfigurationError, first_line
from kdlab.tracking.store import without_password

#: Seconds between two signs of life of a running trial, and after how long without one it counts as dead. Workers of
#: this machine are known to be dead at once, by their locks.
HEARTBEAT, GRACE = 15, 90
#: How often a trial is tried again whose worker died.
RETRIES = 1
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class StudyPlace:
    """A study's name, storage and folder.

    Args:
        name: of the study.
        url: of the storage, as SQLAlchemy takes it.
        mlruns: folder of stages and tracking, shared by all workers.
    """

    name: str
    url: str
    mlruns: Path

    @property
    def folder(self) -> Path:
        """Locks and logs of the workers."""
        return self.mlruns / "sweeps" / self.name

    @property
    def own(self) -> bool:
        """Whether the storage lies inside ``mlruns``, so that whoever sees it sees the locks as well."""
        return self.url == own_storage(self.mlruns)

    @property
    def one_machine(self) -> bool:
        """Whether only processes of one machine can share the storage."""
        return self.url.startswith("sqlite")

    @property
    def shown(self) -> str:
        """The storage as it may be printed."""
        return without_password(self.url)

    def lock(self, name: str) -> FileLock:
        """A lock that all workers of the study see."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / f"{name}.lock")


def place_of(name: str, storage: str | None, mlruns: Path) -> StudyPlace:
    """Where a study is; by default in a database inside ``mlruns``.

    Raises:
        ConfigurationError: If the name cannot name a folder.
    """
    if not NAME.fullmatch(name):
        raise ConfigurationError(f"--study {name}: take letters, digits, -, _ and .")
    return StudyPlace(name, storage or own_storage(mlruns.resolve()), mlruns.resolve())


def own_storage(mlruns: Path) -> str:
    """The address of the database inside ``mlruns``."""
    # SQLAlchemy reads these three as parts of an address.
    path = str(mlruns / "optuna.db").replace("%", "%25").replace("?", "%3F").replace("#", "%23")
    return f"sqlite:///{path}"


def open_storage(place: StudyPlace) -> RDBStorage:
    """Open the storage; made if it is not there. One process at a time, for two that make it fail both.

    Raises:
        ConfigurationError: If it cannot be reached.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    arguments: dict[str, Any] = {"pool_pre_ping": True}
    if place.one_machine:
        # Writers wait for each other; a slow disk must not make that an error.
        arguments["connect_args"] = {"timeout": 120}
    try:
        with place.lock("storage"), quiet():
            return RDBStorage(
                place.url,
                engine_kwargs=arguments,
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=RETRIES),
            )
    except (SQLAlchemyError, StorageInternalError, ImportError, ValueError, RuntimeError) as error:
        reason = first_line(error.__cause__ or error)[:200]
        raise ConfigurationError(
            f"--storage {place.shown}: cannot be opened ({reason}); expected sqlite:///file.db or "
            "postgresql://user@host/database"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's remarks on what is new in it; the proven set names its version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator computes")  # said of every small study
        # A conditional search falls back to single entries where two parts share none.
        warnings.filterwarnings("ignore", message="The parameter .* is sampled independently")
        yield
