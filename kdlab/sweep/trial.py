"""One trial: the experiment with other values, run like any other, without its test."""

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import torch
from lightning.pytorch import Callback
from optuna import Trial
from torch.linalg import LinAlgError  # type: ignore[attr-defined]  # public, but not in __all__

from kdlab.errors import DivergedError, Interrupted, StageError
from kdlab.stages.ledger import Ledger
from kdlab.stages.options import Options
from kdlab.stages.progress import Progress
from kdlab.stages.rehearsal import rehearse_stages
from kdlab.stages.run import bring_to_end
from kdlab.stages.workshop import Planned, Workshop, plans
from kdlab.sweep.definition import Sweep
from kdlab.sweep.keeping import in_use
from kdlab.sweep.places import StudyPlace
from kdlab.sweep.pruning import Divergence, Pruning
from kdlab.sweep.space import Values
from kdlab.sweep.study import EXECUTION, REASON, STAGES
from kdlab.tracking.courier import Courier
from kdlab.tracking.provenance import provenance
from kdlab.tracking.tracker import Tracker, courier_for

#: What a machine says that has no memory left, besides torch's own class.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class TrialFailedError(Exception):
    """A trial that has no value, by no fault of the configuration; the sweep goes on."""


@dataclass
class Trials:
    """Runs the trials of one worker, which share the data and the teachers in memory.

    Args:
        sweep: what is searched.
        place: the study's.
        options: accelerator and folder.
        parent: MLflow's run of the whole sweep, where there is one.
    """

    sweep: Sweep
    place: StudyPlace
    options: Options
    parent: str | None = None
    _before: Workshop | None = None
    _origin: dict[str, str] = field(default_factory=provenance)
    # One for all trials: a store that is late with one is not waited for again with the next.
    _courier: Courier | None = None

    def values(self, trial: Trial, values: Values) -> list[float]:
        """Train what the trial changes; what it is worth, by objective.

        Raises:
            optuna.TrialPruned: If it was given up.
            TrialFailedError: If it diverged or ran out of memory.
            ConfigurationError: If the experiment is wrong.
            Interrupted: If somebody stops the sweep.
        """
        experiment = self.sweep.of(values)
        workshop = self._before = Workshop(experiment, self.options, self._before)
        planned, ledger = self._planned(workshop, trial)
        tracker = self._tracker(ledger, trial)
        outcome, found = "FAIL", None
        try:
            with Progress(planned, experiment) as progress:
                self._run(workshop, planned, tracker, progress, trial)
            found = self._measure(workshop, planned, trial)
            outcome = "COMPLETE"
            return found
        except optuna.TrialPruned:
            outcome = "PRUNED"
            raise
        except (Interrupted, KeyboardInterrupt) as stop:
            outcome = "STOPPED"
            raise Interrupted from stop
        except (DivergedError, FloatingPointError, LinAlgError) as error:
            raise self._failed(trial, f"diverged: {error}") from error
        except (MemoryError, RuntimeError, StageError) as error:
            if not out_of_memory(error):
                raise
            self._before = None
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            raise self._failed(trial, "out of memory") from error
        finally:
            self._close(ledger, tracker, trial, outcome, values, found)

    def _planned(self, workshop: Workshop, trial: Trial) -> tuple[list[Planned], Ledger]:
        """What the trial runs and reuses, said to all others before anything of it can be freed."""
        ledger = Ledger(self.options.mlruns, workshop.experiment, name=sweep_name(self.sweep))
        ledger.id = f"{self.place.name}-{trial.number:04d}-{secrets.token_hex(2)}"
        with in_use(self.place):
            planned = seed_by_seed(plans(workshop))
            ledger.uses(planned)
            trial.set_user_attr(STAGES, [one.folder.fingerprint for one in planned])
        trial.set_user_attr(EXECUTION, ledger.id)
        return planned, ledger

    def _run(
        self, workshop: Workshop, planned: Sequence[Planned], tracker: Tracker, progress: Progress, trial: Trial
    ) -> None:
        untrained = dict.fromkeys(one.stage for one in planned if not one.trained)
        rehearse_stages(workshop, list(untrained))
        reported = self.sweep.reported
        for one in planned:
            first = reported is not None and (one.stage, one.seed) == self._reporting(workshop)
            callbacks: list[Callback] = [Divergence()]
            if first and reported is not None:
                callbacks.append(Pruning(trial, reported.of, one.folder))
            bring_to_end(workshop, one, tracker, progress.of(one), False, callbacks)

    def _reporting(self, workshop: Workshop) -> tuple[str, int]:
        """The last stage's first seed."""
        stage = self.sweep.stages[-1]
        return stage, workshop.experiment.seeds_of(stage)[0]

    def _measure(self, workshop: Workshop, planned: Sequence[Planned], trial: Trial) -> list[float]:
        values = []
        for objective in self.sweep.objectives:
            value = objective.of.value(workshop.experiment, planned)
            if not math.isfinite(value):
                raise self._failed(trial, f"{objective.of.stage} {objective.of.metric} is {value}")
            values.append(value)
        for constraint in self.sweep.constraints:
            violation = constraint.violation(workshop.experiment, planned)
            if not math.isfinite(violation):
                raise self._failed(trial, f"the constraint {constraint.name} is {violation}")
            trial.set_constraint(constraint.name, violation)
        return values

    def _tracker(self, ledger: Ledger, trial: Trial) -> Tracker:
        tags = {**self._origin, "sweep": self.place.name, "trial": str(trial.number)}
        if self.parent is not None:
            tags["mlflow.parentRunId"] = self.parent
        ledger.begin()
        self._courier = self._courier or courier_for(self.options.mlruns)
        tracker = Tracker(self.options.mlruns, sweep_name(self.sweep), courier=self._courier)
        tracker.begin(ledger.id, ledger.experiment.resolved, tags, f"{self.place.name} trial {trial.number}")
        return tracker

    def _close(
        self,
        ledger: Ledger,
        tracker: Tracker,
        trial: Trial,
        outcome: str,
        values: Values,
        found: Sequence[float] | None,
    ) -> None:
        status = {"COMPLETE": "FINISHED", "FAIL": "FAILED"}.get(outcome, "KILLED")
        ledger.end(status)
        metrics = {f"objective/{o.name}": v for o, v in zip(self.sweep.objectives, found or (), strict=False)}
        frozen = trial.study.trials[trial.number] if self.sweep.constraints else None
        metrics |= {f"constraint/{name}": v for name, v in (frozen.constraints if frozen else {}).items()}
        state = {"kind": "trial", "state": outcome}
        if REASON in trial.user_attrs:
            state["reason"] = str(trial.user_attrs[REASON])
        tracker.note(values, metrics, state)
        tracker.end(status)

    @staticmethod
    def _failed(trial: Trial, reason: str) -> TrialFailedError:
        trial.set_user_attr(REASON, reason[:500])
        return TrialFailedError(reason)


def sweep_name(sweep: Sweep) -> str:
    """MLflow's experiment of the sweep, beside the experiment's own, so that its trials do not hide the runs there."""
    return f"{sweep.experiment.name} sweeps"


def seed_by_seed(planned: Sequence[Planned]) -> list[Planned]:
    """All stages at the first seed before the second: a trial is given up before it has cost every seed."""
    seen: dict[str, int] = {}
    places = []
    for one in planned:
        places.append(seen.get(one.stage, 0))
        seen[one.stage] = places[-1] + 1
    return [one for _, one in sorted(zip(places, planned, strict=True), key=lambda pair: pair[0])]


def out_of_memory(error: BaseException | None) -> bool:
    """Whether the machine or the GPU had no memory left, whoever says it."""
    while error is not None:
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            return True
        if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY):
            return True
        error = error.__cause__
    return False


def options_for(mlruns: Path, accelerator: str, stages: Sequence[str], quick: bool) -> Options:
    """The choices of a trial's execution."""
    return Options(only=tuple(stages), accelerator=accelerator, mlruns=mlruns, quick=quick)
