"""The progress of a sweep: a line for each ended trial and, on a terminal, a last line that is kept up to date."""

import sys
import time
from collections import Counter

from optuna import Study
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.live import Live
from rich.text import Text

from kdlab.sweep.definition import Sweep
from kdlab.sweep.numbers import number, setting
from kdlab.sweep.ranking import front, ranked
from kdlab.sweep.study import FINISHED, REASON, feasible


class SweepProgress:
    """Shows a study while workers add to it.

    Args:
        study: the study.
        sweep: the sweep, which names the objectives.
        trials: how many completed and pruned trials are asked for; None is no bound.
        workers: how many workers work at it here.
    """

    def __init__(self, study: Study, sweep: Sweep, trials: int | None, workers: int) -> None:
        self._study, self._sweep, self._trials, self._workers = study, sweep, trials, workers
        self._started, self._before = time.monotonic(), 0
        self._told = {t.number for t in study.get_trials(deepcopy=False) if t.state.is_finished()}
        self._before = self._good(study.get_trials(deepcopy=False))
        self._live = Live(console=Console(), transient=True, auto_refresh=False) if sys.stdout.isatty() else None

    def __enter__(self) -> "SweepProgress":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def look(self) -> None:
        """Print the trials that have ended since the last call; on a terminal, bring the last line up to date."""
        trials = self._study.get_trials(deepcopy=False)
        for trial in trials:
            if trial.state.is_finished() and trial.number not in self._told:
                self._told.add(trial.number)
                line = self.line(trial)
                if self._live is not None:
                    self._live.console.print(line, markup=False, highlight=False)
                else:
                    print(f"[{self._good(trials)}/{self._trials or '…'}] {line}", flush=True)
        if self._live is not None:
            self._live.update(Text(self.summary(trials)), refresh=True)

    def line(self, trial: FrozenTrial) -> str:
        """Return one line on how a trial has ended, and with which values."""
        values = ", ".join(f"{name}={setting(value)}" for name, value in trial.params.items())
        if trial.state == TrialState.COMPLETE:
            ending = ", ".join(
                f"{objective.name} {number(value)}"
                for objective, value in zip(self._sweep.objectives, trial.values, strict=True)
            )
            ending += "" if feasible(trial) else ", breaks a constraint"
        elif trial.state == TrialState.PRUNED:
            ending = f"given up after epoch {(trial.last_step or 0) + 1}"
        else:
            ending = f"failed: {trial.user_attrs.get(REASON, 'its worker died')}"
        return f"trial {trial.number}: {ending}  ({values})"

    def summary(self, trials: list[FrozenTrial]) -> str:
        """Return the state of the whole sweep in one line."""
        by_state = Counter(trial.state for trial in trials)
        done = self._good(trials)
        parts = [
            f"{done}/{self._trials or '…'} trials",
            f"{by_state[TrialState.RUNNING]} running",
            f"{by_state[TrialState.PRUNED]} pruned",
            f"{by_state[TrialState.FAIL]} failed",
            self._best(),
            self._left(done),
        ]
        return ", ".join(part for part in parts if part)

    def _best(self) -> str:
        best = ranked(self._study)
        if not best:
            return ""
        if len(self._sweep.objectives) > 1:
            return f"{len(front(self._study))} on the Pareto front"
        return f"best {self._sweep.objectives[0].name} {number(best[0].values[0])} (trial {best[0].number})"

    def _left(self, done: int) -> str:
        # Trials of an earlier start say nothing about how fast this one is.
        since = done - self._before
        if self._trials is None or since < 1:
            return ""
        seconds = (time.monotonic() - self._started) / since * max(self._trials - done, 0)
        return f"about {seconds:.0f} s left" if seconds < 120 else f"about {seconds / 60:.0f} min left"

    @staticmethod
    def _good(trials: list[FrozenTrial]) -> int:
        return sum(trial.state in FINISHED for trial in trials)
