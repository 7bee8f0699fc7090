"""A worker: it takes trials of a study, one after the other, until there are enough."""

import hashlib
import os
import signal
import threading
import time
from dataclasses import dataclass

import optuna
from filelock import FileLock
from optuna import Study, Trial
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from kdlab.errors import Interrupted, StageError
from kdlab.interruption import Held, held_back, terminable
from kdlab.sweep.definition import Sweep
from kdlab.sweep.keeping import free_lesser
from kdlab.sweep.storage import open_storage, quiet
from kdlab.sweep.study import (
    CONTINUES,
    FINISHED,
    REASON,
    STAGES,
    STOPPED,
    SURPLUS,
    WORKER,
    alive,
    claiming,
    counts,
    fail_dead_trials,
    give_back,
    is_surplus,
    new_worker,
)
from kdlab.sweep.study_place import StudyPlace
from kdlab.sweep.trial import TrialFailedError, Trials

#: Seconds between two looks at whether the last running trials have ended well.
PATIENCE = 1.0
#: So many failed trials in a row are no accident, and end the sweep.
TOO_MANY = 10


@dataclass(frozen=True)
class Target:
    """When a sweep is over.

    Args:
        trials: how many completed and pruned trials there are to be; None is no bound.
        until: the time, in seconds since 1970, after which no trial is begun; None is no bound.
        keep: how many of the best trials keep their stages; None is all.
    """

    trials: int | None
    until: float | None = None
    keep: int | None = 5

    def over(self) -> bool:
        """Return whether the time is up."""
        return self.until is not None and time.time() >= self.until


def work(sweep: Sweep, place: StudyPlace, trials: Trials, target: Target) -> None:
    """Run trials until there are as many as asked for, together with those of all other workers.

    Raises:
        ConfigurationError: If the experiment is wrong, or the last ``TOO_MANY`` trials failed.
        Interrupted: If somebody stops the sweep; the trial that was running is queued again.
    """
    name = new_worker()
    with alive(place, name), terminable():
        try:
            study = optuna.load_study(study_name=place.name, storage=open_storage(place))
            study.sampler = sweep.sampler.sampler(seed_of(study, name))
            study.pruner = sweep.pruner.pruner()
            while not target.over() and _one(study, sweep, place, trials, target, name):
                pass
        except KeyboardInterrupt as stop:
            raise Interrupted from stop


def seed_of(study: Study, worker: str) -> int:
    """Return the seed of a worker's sampler, a whole number in [0, 2^32).

    The first worker of a study draws the same every time, and no two workers draw alike. A study that goes on must not
    draw again what it drew at its start, so the seed depends on the number of trials.
    """
    count = len(study.get_trials(deepcopy=False))
    begun = any(t.user_attrs.get(WORKER) for t in study.get_trials(deepcopy=False))
    address = f"{study.study_name} {count} {worker if begun else ''}"
    return int(hashlib.sha256(address.encode()).hexdigest()[:8], 16)


def _one(study: Study, sweep: Sweep, place: StudyPlace, trials: Trials, target: Target, name: str) -> bool:
    """Run a trial if one is left, and return whether there may be more to do.

    A stop ends the trial at once while it trains; it waits while Optuna begins a trial or writes how it ended.
    """
    with claiming(place) as claim, held_back() as stops:
        fail_dead_trials(study, place)
        check_for_progress(study)
        by_state = counts(study)
        done = sum(by_state[state] for state in FINISHED)
        if target.trials is not None and done >= target.trials:
            return False
        if target.trials is None or done + by_state[TrialState.RUNNING] < target.trials:
            with quiet():
                study.optimize(
                    lambda trial: _objective(trial, sweep, trials, target, Claimed(claim, stops, name)),
                    n_trials=1,
                    catch=(TrialFailedError,),
                )
            free_lesser(study, place, target.keep)
            return True
    # Enough trials are running elsewhere, but one of them may fail.
    time.sleep(PATIENCE)
    return True


@dataclass(frozen=True)
class Claimed:
    """What a worker holds while it begins a trial.

    Args:
        lock: the claim lock, which is kept until the trial is known to run here.
        stops: the signals Ctrl-C and SIGTERM, which wait meanwhile.
        worker: the worker's name.
    """

    lock: FileLock
    stops: Held
    worker: str


def _objective(trial: Trial, sweep: Sweep, trials: Trials, target: Target, claimed: Claimed) -> list[float]:
    """Run one trial and return its values; the lock is given back as soon as the trial is known to run here."""
    try:
        trial.set_user_attr(WORKER, claimed.worker)
        _check_needed(trial, target)
        claimed.lock.release()
        values = sweep.space.suggest(trial)
        try:
            with claimed.stops.let_through():
                return trials.values(trial, values)
        except (Interrupted, KeyboardInterrupt) as stop:
            trial.set_user_attr(REASON, STOPPED)
            stages = trial.user_attrs.get(STAGES, [])
            trial.study.enqueue_trial(values, user_attrs={CONTINUES: trial.number, STAGES: stages})
            raise Interrupted from stop
    except UpdateFinishedTrialError as error:
        # This machine slept so long that another worker took the trial over.
        raise TrialFailedError("taken over by another worker") from error


def _check_needed(trial: Trial, target: Target) -> None:
    if target.trials is not None and is_surplus(trial.study, trial.number, target.trials):
        trial.set_user_attr(REASON, SURPLUS)
        give_back(trial.study, trial.study.trials[trial.number])
        raise TrialFailedError(SURPLUS)


def check_for_progress(study: Study) -> None:
    """Stop a sweep in which trials do nothing but fail.

    Raises:
        StageError: If the last ``TOO_MANY`` trials all failed, and not because of a stop, a dead worker or enough other
            trials.
    """
    ended = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
    last = sorted(ended, key=lambda trial: (trial.datetime_complete is None, trial.datetime_complete))[-TOO_MANY:]
    reasons = [t.user_attrs.get(REASON) for t in last if t.state == TrialState.FAIL]
    # A trial without a reason failed because its worker died, which says nothing against its values.
    failed = [reason for reason in reasons if reason not in (None, STOPPED, SURPLUS)]
    if len(failed) == TOO_MANY:
        raise StageError(f"the last {TOO_MANY} trials failed, the last one: {failed[-1]}; narrow the search")


def die_with_parent() -> None:
    """Stop this process as Ctrl-C would when the launcher is gone.

    The launcher holds the other end of this process's input, and that end is closed however the launcher dies.
    """

    def watch() -> None:
        while os.read(0, 1024):  # not sys.stdin, whose lock would be held when the interpreter ends
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
