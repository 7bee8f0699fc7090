"""A study's storage: opened by many at once, and never torn by a stop."""

import inspect
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError

from kdlab.errors import ConfigurationError, first_line
from kdlab.interruption import held_back
from kdlab.sweep.study_place import StudyPlace
from kdlab.tracking.addresses import shown

#: Seconds between two signs of life of a running trial, and after how long without one it counts as dead. Workers of
#: this machine are known to be dead at once, by their locks.
HEARTBEAT, GRACE = 15, 90
#: How often a trial is tried again whose worker died.
RETRIES = 1
#: How often the tables are looked for where others may be making them, and seconds between two looks.
LOOKS, PAUSE = 6, 0.3


class Storage(RDBStorage):
    """Optuna's storage in a database, each call of which comes to its end before Ctrl-C or SIGTERM stops the process.

    A session that is stopped within its commit can neither go on nor be closed: the trial's last state is then never
    written, and the file stays locked.
    """


# All of them, for Optuna's cache in front of a storage calls some that are not public.
for _name, _call in vars(RDBStorage).items():
    if inspect.isfunction(_call) and not _name.startswith("__"):
        setattr(Storage, _name, held_back()(_call))


def open_storage(place: StudyPlace) -> Storage:
    """Open the storage; made if it is not there.

    Raises:
        ConfigurationError: If it cannot be reached.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with place.lock("storage"), quiet():
            return _found_or_made(place)
    except (SQLAlchemyError, StorageInternalError, ImportError, ValueError, RuntimeError) as error:
        reason = shown(first_line(error.__cause__ or error), place.url)[:200]
        raise ConfigurationError(
            f"--storage {place.shown}: cannot be opened ({reason}); expected sqlite:///file.db or "
            "postgresql://user@host/database"
        ) from error


def _found_or_made(place: StudyPlace) -> Storage:
    """Of two that make the tables at once one fails, and then finds them; whoever shares ``mlruns`` waits for a lock.

    A file that is not there fails alike and costs little; a server that does not answer is not asked again.
    """
    meanwhile = (IntegrityError, ProgrammingError, *([OperationalError] if place.one_machine else []))
    for _ in range(LOOKS - 1):
        try:
            return _opened(place)
        except meanwhile:
            time.sleep(PAUSE)
    return _opened(place)


def _opened(place: StudyPlace) -> Storage:
    arguments: dict[str, Any] = {"pool_pre_ping": True}
    if place.one_machine:
        # Writers wait for each other; a slow disk must not make that an error.
        arguments["connect_args"] = {"timeout": 120}
    return Storage(
        place.url,
        engine_kwargs=arguments,
        heartbeat_interval=HEARTBEAT,
        grace_period=GRACE,
        heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=RETRIES),
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's remarks on what is new in it; the proven set names its version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator computes")  # said of every small study
        # A conditional search falls back to single entries where two parts share none.
        warnings.filterwarnings("ignore", message="The parameter .* is sampled independently")
        yield
