"""What trials leave behind is bounded: stages that only the lesser trials used are freed."""

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
    """``best:5`` is 5, ``all`` is None.

    Raises:
        ConfigurationError: If it is neither.
    """
    if text == "all":
        return None
    word, _, number = text.partition(":")
    if word != "best" or not number.isdecimal() or int(number) < 1:
        raise ConfigurationError(f"--keep {text}: expected best:5, for the best five trials, or all")
    return int(number)


@contextmanager
def in_use(place: StudyPlace) -> Iterator[None]:
    """Between looking at what a trial can reuse and saying so, nothing is freed."""
    with place.lock("keep"):
        yield


def free_lesser(study: Study, place: StudyPlace, keep: int | None) -> None:
    """Free the stages of trials that are neither among the best nor running, nor used by anything else, nor unsent."""
    if keep is None:
        return
    with in_use(place):
        trials = study.get_trials(deepcopy=False)
        best = {trial.number for trial in ranked(study)[:keep]}
        open_ones = [t for t in trials if not t.state.is_finished()]
        kept = _stages([*open_ones, *(t for t in trials if t.number in best)])
        kept |= referenced(place.mlruns, plain_only=True) | unsent(place.mlruns)
        # What is not finished may be gone on with by a retry, and is small; `kdlab clean` shows it.
        lesser = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED) and t.number not in best]
        for name in sorted(_stages(lesser) - kept):
            free(place.mlruns / "stages" / name)


def _stages(trials: Iterable[FrozenTrial]) -> set[str]:
    return {name for trial in trials for name in trial.user_attrs.get(STAGES, [])}
