"""What a trial is judged by: validation metrics of a stage at its chosen epoch, and costs, averaged over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.study import StudyDirection

from kdlab.configuration.experiment import Experiment
from kdlab.errors import StageError
from kdlab.records.stage_folder import StageFolder
from kdlab.stages.graph import StageNode

PARAMETERS, SECONDS = "cost/parameters", "cost/training_seconds"


@dataclass(frozen=True)
class Measured:
    """A number of a stage.

    Args:
        stage: the stage.
        metric: a validation metric such as ``val/accuracy``, ``cost/parameters`` or ``cost/training_seconds``.
    """

    stage: str
    metric: str

    def value(self, experiment: Experiment, nodes: Sequence[StageNode]) -> float:
        """The mean over the stage's seeds; NaN where one of them is.

        Raises:
            StageError: If a stage was trained before its evaluation had the metric.
        """
        values = [self._of(experiment, node) for node in nodes if node.stage == self.stage]
        return sum(values) / len(values)

    def per_epoch(self, folder: StageFolder) -> dict[int, float]:
        """The committed values by epoch."""
        return {
            int(line["epoch"]): float(line["metrics"][self.metric])
            for line in folder.points()
            if self.metric in line["metrics"]
        }

    def _of(self, experiment: Experiment, node: StageNode) -> float:
        done = node.folder.done or {}
        if self.metric == PARAMETERS:
            return float(sum(p.numel() for p in experiment.build_model(self.stage).parameters()))
        if self.metric == SECONDS:
            return float(done["seconds"])
        values = self.per_epoch(node.folder)
        if done.get("epoch") not in values:
            raise StageError(
                f"stage {self.stage!r} seed {node.seed} has no {self.metric} at its chosen epoch: it was trained "
                f"before its evaluation had this metric; delete {node.folder.path} and start again"
            )
        return values[done["epoch"]]


@dataclass(frozen=True)
class Objective:
    """What is to become large or small."""

    name: str
    of: Measured
    maximize: bool

    @property
    def direction(self) -> StudyDirection:
        """Optuna's word."""
        return StudyDirection.MAXIMIZE if self.maximize else StudyDirection.MINIMIZE


@dataclass(frozen=True)
class Constraint:
    """A bound that a good trial keeps: ``sign * (value - bound - plus) <= 0``.

    Args:
        name: what tables call it.
        of: what is bounded.
        bound: a number, or another number of the same trial.
        plus: added to the bound.
        upper: whether it is an upper bound.
    """

    name: str
    of: Measured
    bound: float | Measured
    plus: float
    upper: bool

    def violation(self, experiment: Experiment, nodes: Sequence[StageNode]) -> float:
        """By how much it is broken; zero or less is kept."""
        bound = self.bound.value(experiment, nodes) if isinstance(self.bound, Measured) else self.bound
        excess = self.of.value(experiment, nodes) - (bound + self.plus)
        return excess if self.upper else -excess

    @property
    def stages(self) -> set[str]:
        """The stages that it needs."""
        return {self.of.stage} | ({self.bound.stage} if isinstance(self.bound, Measured) else set())
