"""An Optuna study as several workers share it: joined or made, its trials claimed one by one, and failed with them."""

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
#: What a trial says of itself in its user attributes.
WORKER, STAGES, EXECUTION, REASON, CONTINUES, SIGNATURE = (
    "worker", "stages", "execution", "reason", "continues", "sweep",
)  # fmt: skip
#: Seconds in which whoever makes a study has queued its first trials; after that it counts as dead.
BEGINNING = 10.0
#: Reasons for a trial's end that say nothing against its values.
STOPPED, SURPLUS = "stopped", "enough others are running"


def signature(sweep: Sweep, fingerprints: Mapping[str, str]) -> dict[str, Any]:
    """What must stay the same for two trials to be comparable, part by part.

    Args:
        sweep: the sweep.
        fingerprints: of the stages with the experiment's own values; they know of data, code and settings.
    """

    def goal(quantity: Measured) -> str:
        return f"{quantity.stage} {quantity.metric}"

    search = {
        f"search.{entry.name}": repr((entry.sets, entry.distribution, dict(entry.when), dict(entry.stands_for)))
        for entry in sweep.space.entries
    }
    aims = {f"objectives.{aim.name}": f"{aim.direction.name.lower()} {goal(aim.of)}" for aim in sweep.objectives}
    # These texts are compared with those of a study's earlier trials: names of classes and fields are part of them.
    bounds = {f"constraints.{constraint.name}": repr(constraint) for constraint in sweep.constraints}
    searched = {place for entry in sweep.space.entries for place in entry.sets}
    fixed = {"fixed": [text for text in sweep.base if text.partition("=")[0] not in searched]}
    evaluation = {"evaluate": sweep.experiment.evaluation_hash()}
    return search | aims | bounds | fixed | evaluation | {"stages": dict(fingerprints)}


def join(sweep: Sweep, place: StudyPlace, fingerprints: Mapping[str, str]) -> Study:
    """The study of this sweep, made if there is none; the experiment's own values are its first trial.

    Raises:
        ConfigurationError: If the name belongs to another search, or the storage cannot be reached.
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
        if len(trials) < len(sweep.start):  # new, or its maker was killed before all stood in the queue
            for values in sweep.start:
                study.enqueue_trial(values, skip_if_exists=True)
        return study


def _made_or_found(sweep: Sweep, place: StudyPlace, storage: BaseStorage) -> Study:
    """Make the study; one that is there already is given the time in which its maker signs it and queues its start.

    Whoever does not share the folder holds another claim lock: two that begin one study must not both queue the start.
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
    """An existing study, for looking at it.

    Raises:
        ConfigurationError: If there is none.
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
    """How many trials there are in each state."""
    return Counter(trial.state for trial in study.get_trials(deepcopy=False))


def good(study: Study) -> int:
    """How many trials count: completed and pruned ones."""
    by_state = counts(study)
    return sum(by_state[state] for state in FINISHED)


def is_surplus(study: Study, number: int, target: int) -> bool:
    """Whether a trial that was just begun is one too many; asked by its worker, this keeps the count by the storage.

    It is if the good trials and the begun or waiting ones before it make up the target already. Numbers are given one
    after the other: when a trial looks, all before it are to be seen. So if more than the target were kept and ended
    well, the last of them would have seen the others, and given itself back.

    Args:
        study: the study.
        number: the trial's.
        target: how many completed and pruned trials there shall be.
    """
    others = [trial for trial in study.get_trials(deepcopy=False) if trial.number != number]
    good_ones = sum(trial.state in FINISHED for trial in others)
    return good_ones + sum(not t.state.is_finished() and t.number < number for t in others) >= target


def give_back(study: Study, trial: FrozenTrial) -> None:
    """Queue a trial again that was begun and not needed, if its values were asked for; it itself ends as failed."""
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
    """Whether a trial keeps every constraint."""
    return all(value <= 0 for value in trial.constraints.values())


def new_worker() -> str:
    """A worker's name, unique over machines."""
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
        lease.leave()  # after an error the file stays: others find it free, and bury the trial


def _alive_file(place: StudyPlace, worker: str) -> Path:
    return place.folder / f"alive-{worker}.lock"


def fail_dead_trials(study: Study, place: StudyPlace) -> None:
    """Fail trials whose worker is dead, and queue them again; the claim lock is held by the caller.

    A worker names itself in its trial before it gives the claim lock back: a running trial without a name has none.
    """
    with quiet():
        retry = RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if not _dead(trial, place):
                continue
            try:
                study.tell(trial.number, state=TrialState.FAIL)
            except (UpdateFinishedTrialError, ValueError):
                continue  # it ended in this moment
            retry(study, trial)
        # Workers of other machines are known by their heartbeats alone.
        fail_stale_trials(study)


def _dead(trial: FrozenTrial, place: StudyPlace) -> bool:
    worker = trial.user_attrs.get(WORKER)
    if worker is None:
        # Whoever does not share this folder has a claim lock of its own: give it time to sign.
        age = datetime.now() - trial.datetime_start if trial.datetime_start is not None else timedelta(0)
        return place.own or age > timedelta(seconds=GRACE)
    file = _alive_file(place, worker)
    if not worker.startswith(f"{socket.gethostname()}-") or not file.exists():
        return False
    return Lease(file).free()


@contextmanager
def claiming(place: StudyPlace) -> Iterator[FileLock]:
    """Hold the lock under which trials are counted and begun, so that no two workers take the last one.

    Whoever does not share the folder holds another lock; what both begin is sorted out by ``is_surplus``.
    """
    lock = place.lock("claim")
    lock.acquire()
    try:
        yield lock
    finally:
        lock.release(force=True)
