"""An Optuna study that several workers share: they join it, claim its trials, and fail those of dead workers."""

import json
import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna import Study
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from kdlab.errors import ConfigurationError, listing
from kdlab.records.lease import Lease
from kdlab.sweep.criteria import Measured
from kdlab.sweep.definition import Sweep
from kdlab.sweep.storage import GRACE, RETRIES, open_storage, quiet
from kdlab.sweep.study_place import StudyPlace

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
#: Names of user attributes: the last one is the study's, the others are a trial's.
WORKER, STAGES, EXECUTION, REASON, CONTINUES, SIGNATURE = (
    "worker", "stages", "execution", "reason", "continues", "sweep",
)  # fmt: skip
#: Seconds that the maker of a study has to queue its first trials; after that it counts as dead.
BEGINNING = 10.0
#: Reasons for a trial's end that say nothing against its values.
STOPPED, SURPLUS = "stopped", "enough others are running"


def signature(sweep: Sweep, fingerprints: Mapping[str, str]) -> dict[str, Any]:
    """Return what must stay the same for two trials to be comparable, by the name of each part.

    Args:
        sweep: the sweep.
        fingerprints: fingerprints of the stages at the experiment's own values; they change with data, code and
            settings.
    """

    def goal(quantity: Measured) -> str:
        return f"{quantity.stage} {quantity.metric}"

    search = {
        f"search.{entry.name}": repr((entry.sets, entry.distribution, dict(entry.when), dict(entry.stands_for)))
        for entry in sweep.space.entries
    }
    aims = {f"objectives.{aim.name}": f"{aim.direction.name.lower()} {goal(aim.of)}" for aim in sweep.objectives}
    # These texts are compared with those of earlier trials, so the names of classes and fields in them must not change.
    bounds = {f"constraints.{constraint.name}": repr(constraint) for constraint in sweep.constraints}
    searched = {place for entry in sweep.space.entries for place in entry.sets}
    fixed = {"fixed": [text for text in sweep.base if text.partition("=")[0] not in searched]}
    evaluation = {"evaluate": sweep.experiment.evaluation_hash()}
    return search | aims | bounds | fixed | evaluation | {"stages": dict(fingerprints)}


def join(sweep: Sweep, place: StudyPlace, fingerprints: Mapping[str, str]) -> Study:
    """Return the study of a sweep; make it and queue its start values if there is none.

    Args:
        sweep: the sweep; its first start values are the experiment's own.
        place: the study's place.
        fingerprints: fingerprints of the stages at the experiment's own values.

    Raises:
        ConfigurationError: If the name belongs to another search or another program, or the storage cannot be reached.
    """
    current = signature(sweep, fingerprints)
    storage = open_storage(place)
    with place.lock("claim"), quiet():
        study = _made_or_found(sweep, place, storage)
        recorded, trials = study.user_attrs.get(SIGNATURE), study.get_trials(deepcopy=False)
        if recorded is None and trials:
            raise ConfigurationError(
                f"the study {place.name!r} in {place.shown} was not made by kdlab; take another: --study NAME2"
            )
        if recorded is None:
            study.set_user_attr(SIGNATURE, json.dumps(current))
        elif json.loads(recorded) != json.loads(json.dumps(current)):
            before = json.loads(recorded)
            changed = [part for part in dict.fromkeys([*before, *current]) if before.get(part) != current.get(part)]
            raise ConfigurationError(
                f"the study {place.name!r} has trials of another search: {listing(changed)} changed since; "
                f"give this one a name of its own: --study {place.name}-2"
            )
        if len(trials) < len(sweep.start):  # new, or its maker was killed before it had queued all
            for values in sweep.start:
                study.enqueue_trial(values, skip_if_exists=True)
        return study


def _made_or_found(sweep: Sweep, place: StudyPlace, storage: BaseStorage) -> Study:
    """Make the study; if it is there already, give its maker time to sign it and to queue its start values.

    A process that does not share the folder holds another claim lock, and two that begin one study must not both queue
    the start.
    """
    directions = [objective.direction for objective in sweep.objectives]
    try:
        return optuna.create_study(study_name=place.name, storage=storage, directions=directions)
    except DuplicatedStudyError:
        study = optuna.load_study(study_name=place.name, storage=storage)
    deadline = time.monotonic() + (0.0 if place.own else BEGINNING)
    while time.monotonic() < deadline and len(study.get_trials(deepcopy=False)) < len(sweep.start):
        time.sleep(BEGINNING / 50)
    return study


def load(place: StudyPlace) -> Study:
    """Return an existing study, to look at it.

    Raises:
        ConfigurationError: If there is no study of this name, or the storage cannot be reached.
    """
    storage = open_storage(place)
    try:
        return optuna.load_study(study_name=place.name, storage=storage)
    except KeyError as error:
        names = optuna.get_all_study_names(storage)
        raise ConfigurationError(
            f"there is no study {place.name!r} in {place.shown}; there is {listing(names)}"
        ) from error


def counts(study: Study) -> Counter[TrialState]:
    """Return how many trials there are in each state."""
    return Counter(trial.state for trial in study.get_trials(deepcopy=False))


def good(study: Study) -> int:
    """Return how many trials count towards the number that was asked for: completed and pruned ones."""
    by_state = counts(study)
    return sum(by_state[state] for state in FINISHED)


def is_surplus(study: Study, number: int, target: int) -> bool:
    """Return whether a trial that was just begun is one too many.

    It is if the completed and pruned trials, together with those before it that are running or waiting, reach the
    target already. The trial's own worker asks this, so the count is right even if workers share nothing but the
    storage. Numbers are given one after the other: a worker that looks sees all trials with lower numbers. So if more
    trials than the target were kept and ended well, the last of them would have seen the others and given itself back.

    Args:
        study: the study.
        number: the trial's number.
        target: how many completed and pruned trials there are to be.
    """
    others = [trial for trial in study.get_trials(deepcopy=False) if trial.number != number]
    good_ones = sum(trial.state in FINISHED for trial in others)
    return good_ones + sum(not t.state.is_finished() and t.number < number for t in others) >= target


def give_back(study: Study, trial: FrozenTrial) -> None:
    """Queue the values of a trial that was begun and is not needed, if somebody asked for them.

    The trial itself ends as failed. Values that the sampler would have drawn are not queued.
    """
    if "fixed_params" in trial.system_attrs or trial.params:
        study.add_trial(
            optuna.create_trial(
                state=TrialState.WAITING,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs={name: value for name, value in trial.user_attrs.items() if name not in (WORKER, REASON)},
                system_attrs=trial.system_attrs,
            )
        )


def feasible(trial: FrozenTrial) -> bool:
    """Return whether a trial keeps every constraint."""
    return all(value <= 0 for value in trial.constraints.values())


def new_worker() -> str:
    """Return a name for a worker that no other worker has, on this machine or another."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"


@contextmanager
def alive(place: StudyPlace, worker: str) -> Iterator[None]:
    """Hold the lease by which others know that this worker lives."""
    lease = Lease(_alive_file(place, worker))
    lease.hold()
    try:
        yield
        lease.end()
    finally:
        lease.leave()  # after an error the file stays: others find it free, and fail the trial


def _alive_file(place: StudyPlace, worker: str) -> Path:
    return place.folder / f"alive-{worker}.lock"


def fail_dead_trials(study: Study, place: StudyPlace) -> None:
    """Fail the trials of dead workers and queue them again; the caller holds the claim lock.

    A worker writes its name into its trial before it gives the claim lock back, so nobody works at a running trial
    without a name.
    """
    with quiet():
        retry = RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if not _dead(trial, place):
                continue
            try:
                study.tell(trial.number, state=TrialState.FAIL)
            except (UpdateFinishedTrialError, ValueError):
                continue  # it has just ended
            retry(study, trial)
        # Workers of other machines are known by their heartbeats alone.
        fail_stale_trials(study)


def _dead(trial: FrozenTrial, place: StudyPlace) -> bool:
    worker = trial.user_attrs.get(WORKER)
    if worker is None:
        # A worker that does not share this folder holds another claim lock, so it gets time to write its name.
        age = datetime.now() - trial.datetime_start if trial.datetime_start is not None else timedelta(0)
        return place.own or age > timedelta(seconds=GRACE)
    file = _alive_file(place, worker)
    host, _, _ = worker.rsplit("-", 2)  # a host's name may be the beginning of another's
    if host != socket.gethostname() or not file.exists():
        return False
    return Lease(file).free()


@contextmanager
def claiming(place: StudyPlace) -> Iterator[FileLock]:
    """Hold the lock under which trials are counted and begun, so that no two workers take the last one.

    The caller may release the lock earlier. Workers that do not share the folder hold another lock; ``is_surplus``
    sorts out what both have begun.
    """
    lock = place.lock("claim")
    lock.acquire()
    try:
        yield lock
    finally:
        lock.release(force=True)
