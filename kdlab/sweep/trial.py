"""One trial: the experiment with other values, run like any other experiment but without its test."""

import math
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import torch
from lightning.pytorch import Callback
from optuna import Trial
from torch.linalg import LinAlgError  # type: ignore[attr-defined]  # public, but not in __all__

from kdlab.errors import DivergedError, Interrupted, StageError
from kdlab.records.executions import Status
from kdlab.stages.context import Context
from kdlab.stages.execution import CurrentExecution, Name, execution
from kdlab.stages.graph import StageNode
from kdlab.stages.options import Options
from kdlab.stages.rehearsal import rehearse_stages
from kdlab.sweep.definition import Sweep
from kdlab.sweep.keeping import in_use
from kdlab.sweep.pruning import Divergence, Pruning
from kdlab.sweep.space import Values
from kdlab.sweep.study import EXECUTION, REASON, STAGES
from kdlab.sweep.study_place import StudyPlace
from kdlab.tracking.courier import Courier
from kdlab.tracking.provenance import provenance
from kdlab.tracking.tracker import courier_for

#: What errors say where no memory is left, besides torch's own class of error.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class TrialFailedError(Exception):
    """A trial has no value, although the configuration is right; the sweep goes on."""


@dataclass
class Trials:
    """Runs the trials of one worker, which share the data and the teachers in memory.

    Args:
        sweep: the sweep.
        place: the study's place.
        options: the choices of every trial's execution, such as the accelerator.
        parent: the id of MLflow's run of the whole sweep, if there is one.
    """

    sweep: Sweep
    place: StudyPlace
    options: Options
    parent: str | None = None
    _before: Context | None = None
    _origin: dict[str, str] = field(default_factory=provenance)
    # All trials share one courier, so that a slow store is not waited for anew with each trial.
    _courier: Courier | None = None

    def values(self, trial: Trial, values: Values) -> list[float]:
        """Train what the trial changes, and return its values, one for each objective.

        Args:
            trial: the trial.
            values: what it tries, by the names of the search's entries.

        Raises:
            optuna.TrialPruned: If it was given up.
            TrialFailedError: If it diverged or ran out of memory.
            ConfigurationError: If the experiment is wrong.
            Interrupted: If somebody stops the sweep.
        """
        experiment = self.sweep.of(values)
        context = self._before = Context(experiment, self.options, self._before)
        nodes = self._planned(context, trial)
        self._courier = self._courier or courier_for(self.options.mlruns)
        with execution(context, nodes, self._name(trial), courier=self._courier) as current:
            ending, worth = "FAIL", None
            try:
                worth = self._run(current, trial)
                ending = "COMPLETE"
            except optuna.TrialPruned:
                ending = "PRUNED"
                raise
            except (Interrupted, KeyboardInterrupt):
                ending = "STOPPED"
                raise
            finally:
                self._note(current, trial, ending, values, worth)
        current.tracker.end(Status.FINISHED)
        return worth

    def _planned(self, context: Context, trial: Trial) -> list[StageNode]:
        """Return the stages that the trial runs or reuses, and record them before any can be freed."""
        with in_use(self.place):
            nodes = seed_by_seed(context.plan())
            trial.set_user_attr(STAGES, [node.fingerprint for node in nodes])
        return nodes

    def _name(self, trial: Trial) -> Name:
        """Return the name of the trial's execution, with the tags of its run in MLflow."""
        tags = {**self._origin, "sweep": self.place.name, "trial": str(trial.number)}
        if self.parent is not None:
            tags["mlflow.parentRunId"] = self.parent
        identity = f"{self.place.name}-{trial.number:04d}-{secrets.token_hex(2)}"
        trial.set_user_attr(EXECUTION, identity)
        return Name(sweep_name(self.sweep), identity, f"{self.place.name} trial {trial.number}", tags)

    def _run(self, current: CurrentExecution, trial: Trial) -> list[float]:
        """Train the stages and return the trial's values, one for each objective.

        Divergence and a lack of memory fail this trial alone; any other error ends the sweep.
        """
        try:
            self._train(current, trial)
            return self._measure(current, trial)
        except (DivergedError, FloatingPointError, LinAlgError) as error:
            raise self._failed(trial, f"diverged: {error}") from error
        except (MemoryError, RuntimeError, StageError) as error:
            if not out_of_memory(error):
                raise
            # The last context holds data and teachers in memory; the next trial loads them again.
            self._before = None
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            raise self._failed(trial, "out of memory") from error

    def _train(self, current: CurrentExecution, trial: Trial) -> None:
        rehearse_stages(current.context, list(dict.fromkeys(node.stage for node in current.nodes if not node.trained)))
        reported = self.sweep.reported
        last = self.sweep.stages[-1]
        # Only one seed reports, because a trial has one value for each epoch.
        reporting = (last, current.context.experiment.seeds_of(last)[0])
        for node in current.nodes:
            callbacks: list[Callback] = [Divergence()]
            if reported is not None and (node.stage, node.seed) == reporting:
                callbacks.append(Pruning(trial, reported.of, node.folder))
            current.complete(node, testing=False, callbacks=callbacks)

    def _measure(self, current: CurrentExecution, trial: Trial) -> list[float]:
        values, experiment = [], current.context.experiment
        for objective in self.sweep.objectives:
            value = objective.of.value(experiment, current.nodes)
            if not math.isfinite(value):
                raise self._failed(trial, f"{objective.of.stage} {objective.of.metric} is {value}")
            values.append(value)
        for constraint in self.sweep.constraints:
            violation = constraint.violation(experiment, current.nodes)
            if not math.isfinite(violation):
                raise self._failed(trial, f"the constraint {constraint.name} is {violation}")
            trial.set_constraint(constraint.name, violation)
        return values

    def _note(
        self, current: CurrentExecution, trial: Trial, ending: str, values: Values, worth: Sequence[float] | None
    ) -> None:
        """Give the trial's run in MLflow its values, what they are worth, and how it ended."""
        metrics = {f"objective/{o.name}": v for o, v in zip(self.sweep.objectives, worth or (), strict=False)}
        frozen = trial.study.trials[trial.number] if self.sweep.constraints else None
        metrics |= {f"constraint/{name}": v for name, v in (frozen.constraints if frozen else {}).items()}
        state = {"kind": "trial", "state": ending}
        if REASON in trial.user_attrs:
            state["reason"] = str(trial.user_attrs[REASON])
        current.tracker.note(values, metrics, state)

    @staticmethod
    def _failed(trial: Trial, reason: str) -> TrialFailedError:
        trial.set_user_attr(REASON, reason[:500])
        return TrialFailedError(reason)


def sweep_name(sweep: Sweep) -> str:
    """Return the name of the sweep's experiment in MLflow.

    It is not the experiment's own name, because trials would hide the other runs there.
    """
    return f"{sweep.experiment.name} sweeps"


def seed_by_seed(nodes: Sequence[StageNode]) -> list[StageNode]:
    """Return the stages ordered by seed: all at the first seed, then all at the second.

    In this order a trial can be given up before it has cost every seed.
    """
    rounds = Counter[str]()
    numbered = []
    for node in nodes:
        numbered.append((rounds[node.stage], node))
        rounds[node.stage] += 1
    return [node for _, node in sorted(numbered, key=lambda pair: pair[0])]


def out_of_memory(error: BaseException | None) -> bool:
    """Return whether the machine or the GPU had no memory left, as this error or one of its causes says."""
    while error is not None:
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            return True
        if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY):
            return True
        error = error.__cause__
    return False


def options_for(mlruns: Path, accelerator: str, stages: Sequence[str], quick: bool) -> Options:
    """Return the choices of a trial's execution.

    Args:
        mlruns: the folder of stages and tracking.
        accelerator: ``cpu``, ``gpu`` or ``auto``.
        stages: the stages that the sweep judges.
        quick: whether the experiment is read with the overrides of its key ``quick``.
    """
    return Options(only=tuple(stages), accelerator=accelerator, mlruns=mlruns, quick=quick)
