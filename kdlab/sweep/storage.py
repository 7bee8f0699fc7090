"""A study's storage, which many processes may open at once and which a stop never leaves half-written."""

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

#: Seconds between two signs of life of a running trial, and seconds without one after which it counts as dead. The
#: death of a worker of this machine is noticed at once, by its lock.
HEARTBEAT, GRACE = 15, 90
#: How often a trial is tried again after its worker died.
RETRIES = 1
#: How often to look for the tables while others may be making them, and seconds between two looks.
LOOKS, PAUSE = 6, 0.3


class Storage(RDBStorage):
    """Optuna's storage in a database; Ctrl-C and SIGTERM wait until the current call has come to its end.

    A session that is stopped within its commit can neither go on nor be closed: the trial's last state is then never
    written, and the file stays locked.
    """


# Private methods as well, because the cache that Optuna puts in front of a storage calls some of them.
for _name, _call in vars(RDBStorage).items():
    if inspect.isfunction(_call) and not _name.startswith("__"):
        setattr(Storage, _name, held_back()(_call))


def open_storage(place: StudyPlace) -> Storage:
    """Open the storage of a study, and make its tables if they are not there.

    Raises:
        ConfigurationError: If the storage cannot be reached, or its address is not valid.
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
    """Open the storage, and try again while another process may be making its tables.

    If two processes make the tables at once, one of them fails and finds them at its next try. This happens only to
    processes that do not share ``mlruns``, because the others wait for a lock. A file that cannot be opened fails in
    the same way, and trying again costs little; a server that does not answer is not asked again.
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
    """Silence warnings of Optuna that tell a user nothing.

    Most are about features that are new in Optuna: ``constraints.txt`` names the version with which kdlab is tested.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator computes")  # every small study causes it
        # In a conditional search, the sampler takes entries one by one where two parts of the space share none.
        warnings.filterwarnings("ignore", message="The parameter .* is sampled independently")
        yield
