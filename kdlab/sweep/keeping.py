"""Bounds what trials leave on the disk: stages that only the lesser trials used are freed."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from kdlab.errors import ConfigurationError
from kdlab.records.cleaning import free, referenced
from kdlab.sweep.ranking import ranked
from kdlab.sweep.study import STAGES
from kdlab.sweep.study_place import StudyPlace
from kdlab.tracking.records import unsent


def keep_count(text: str) -> int | None:
    """Return how many of the best trials keep their stages: 5 for ``best:5``, None (which is no bound) for ``all``.

    Raises:
        ConfigurationError: If the text is neither ``all`` nor ``best:`` with a number of at least 1.
    """
    if text == "all":
        return None
    word, _, number = text.partition(":")
    if word != "best" or not number.isdecimal() or int(number) < 1:
        raise ConfigurationError(f"--keep {text}: expected best:5, for the best five trials, or all")
    return int(number)


@contextmanager
def in_use(place: StudyPlace) -> Iterator[None]:
    """Hold the lock under which no stage is freed, while a trial looks up and records the stages that it uses."""
    with place.lock("keep"):
        yield


def free_lesser(study: Study, place: StudyPlace, keep: int | None) -> None:
    """Free the stages that only the lesser trials of a study used.

    A stage stays if one of the best trials or an unfinished trial uses it, if another finished or running execution
    refers to it, or if MLflow has not received all of it.

    Args:
        study: the study.
        place: the study's place.
        keep: how many of the best trials keep their stages; None frees nothing.
    """
    if keep is None:
        return
    with in_use(place):
        trials = study.get_trials(deepcopy=False)
        best = {trial.number for trial in ranked(study)[:keep]}
        open_ones = [t for t in trials if not t.state.is_finished()]
        kept = _stages([*open_ones, *(t for t in trials if t.number in best)])
        kept |= referenced(place.mlruns, plain_only=True) | unsent(place.mlruns)
        # A retry may continue the unfinished stages of a failed trial, and they are small; `kdlab clean` shows them.
        lesser = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED) and t.number not in best]
        for name in sorted(_stages(lesser) - kept):
            free(place.mlruns / "stages" / name)


def _stages(trials: Iterable[FrozenTrial]) -> set[str]:
    return {name for trial in trials for name in trial.user_attrs.get(STAGES, [])}
