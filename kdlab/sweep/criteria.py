"""The criteria that judge a trial: ``objectives`` and ``constraints`` of a sweep file, each a number of a stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.study import StudyDirection

from kdlab.configuration.document import Document, Place
from kdlab.configuration.experiment import Experiment
from kdlab.configuration.form_checks import check_keys
from kdlab.errors import StageError, listing, suggestion
from kdlab.records.stage_folder import StageFolder
from kdlab.records.stage_records import Done
from kdlab.stages.graph import StageNode

PARAMETERS, SECONDS = "cost/parameters", "cost/training_seconds"
OBJECTIVE = ("stage", "metric", "direction")
CONSTRAINT = ("stage", "metric", "at_least", "at_most")
BOUND = ("stage", "metric", "plus")
DIRECTIONS = ("maximize", "minimize")


@dataclass(frozen=True)
class Measured:
    """A number of a stage, averaged over its seeds; a metric is taken at each seed's chosen epoch.

    Args:
        stage: the stage's name in the experiment.
        metric: a validation metric such as ``val/accuracy``; or ``cost/parameters``, a count; or
            ``cost/training_seconds``.
    """

    stage: str
    metric: str

    def value(self, experiment: Experiment, nodes: Sequence[StageNode]) -> float:
        """Return the mean over the stage's seeds; NaN if it is NaN for one of them.

        Args:
            experiment: the trial's experiment.
            nodes: the trial's stages with each of their seeds.

        Raises:
            StageError: If a stage is not finished, or was trained before its evaluation had the metric.
        """
        values = [self._of(experiment, node) for node in nodes if node.stage == self.stage]
        return sum(values) / len(values)

    def per_epoch(self, folder: StageFolder) -> dict[int, float]:
        """Return the committed values in a stage's folder by epoch; epochs without the metric are left out."""
        return {
            int(line["epoch"]): float(line["metrics"][self.metric])
            for line in folder.points()
            if self.metric in line["metrics"]
        }

    def _of(self, experiment: Experiment, node: StageNode) -> float:
        if self.metric == PARAMETERS:
            return float(sum(p.numel() for p in experiment.build_model(self.stage).parameters()))
        if self.metric == SECONDS:
            return self._done(node).seconds
        values, epoch = self.per_epoch(node.folder), self._done(node).epoch
        if epoch not in values:
            raise StageError(
                f"stage {self.stage!r} seed {node.seed} has no {self.metric} at its chosen epoch: it was trained "
                f"before its evaluation had this metric; delete {node.folder.path} and start again"
            )
        return values[epoch]

    def _done(self, node: StageNode) -> Done:
        done = node.folder.done
        if done is None:
            raise StageError(f"stage {self.stage!r} seed {node.seed} is not finished: {node.folder.path}")
        return done


@dataclass(frozen=True)
class Objective:
    """A number of a trial that the sweep makes as large or as small as it can.

    Args:
        name: what tables call it.
        of: the number.
        maximize: whether larger values are better.
    """

    name: str
    of: Measured
    maximize: bool

    @property
    def direction(self) -> StudyDirection:
        """The direction in Optuna's terms."""
        return StudyDirection.MAXIMIZE if self.maximize else StudyDirection.MINIMIZE


@dataclass(frozen=True)
class Constraint:
    """A bound that a good trial keeps: ``sign * (value - bound - plus) <= 0``.

    The sign is 1 for an upper bound and -1 for a lower one.

    Args:
        name: what tables call it.
        of: the number that is bounded.
        bound: a fixed number, or another number of the same trial.
        plus: what is added to the bound.
        upper: True for an upper bound, False for a lower one.
    """

    name: str
    of: Measured
    bound: float | Measured
    plus: float
    upper: bool

    def violation(self, experiment: Experiment, nodes: Sequence[StageNode]) -> float:
        """Return by how much a trial breaks the bound; zero or less means that it is kept.

        Args:
            experiment: the trial's experiment.
            nodes: the trial's stages with each of their seeds.

        Raises:
            StageError: If a stage is not finished, or was trained before its evaluation had the metric.
        """
        bound = self.bound.value(experiment, nodes) if isinstance(self.bound, Measured) else self.bound
        excess = self.of.value(experiment, nodes) - (bound + self.plus)
        return excess if self.upper else -excess

    @property
    def stages(self) -> set[str]:
        """The names of the stages whose numbers it compares."""
        return {self.of.stage} | ({self.bound.stage} if isinstance(self.bound, Measured) else set())


def objectives(document: Document, experiment: Experiment) -> tuple[Objective, ...]:
    """Read the objectives of a sweep file.

    Raises:
        ConfigurationError: If there is none or one is not valid. The message is one line that names file, key and line,
            what was possible and what to do.
    """
    read = []
    for name, entry in _entries(document, "objectives", required=True).items():
        place = document / "objectives" / name
        check_keys(place, entry, OBJECTIVE, f"the objective {name!r}")
        direction = entry.get("direction")
        if direction not in DIRECTIONS:
            raise place.error(f"direction says what is better; expected {' or '.join(DIRECTIONS)}, got {direction!r}")
        read.append(Objective(str(name), _quantity(place, entry, experiment), direction == "maximize"))
    return tuple(read)


def constraints(document: Document, experiment: Experiment) -> tuple[Constraint, ...]:
    """Read the constraints of a sweep file, which may have none.

    Raises:
        ConfigurationError: If one is not valid. The message is one line that names file, key and line, what was
            possible and what to do.
    """
    read = []
    for name, entry in _entries(document, "constraints", required=False).items():
        place = document / "constraints" / name
        check_keys(place, entry, CONSTRAINT, f"the constraint {name!r}")
        sides = [side for side in ("at_least", "at_most") if side in entry]
        if len(sides) != 1:
            raise place.error(f"a constraint has one of at_least and at_most, found {listing(sides)}")
        bound, plus = _bound(place / sides[0], entry[sides[0]], experiment)
        quantity = _quantity(place, entry, experiment)
        read.append(Constraint(str(name), quantity, bound, plus, sides == ["at_most"]))
    return tuple(read)


def _entries(document: Document, key: str, required: bool) -> Mapping[str, Any]:
    written = document.content.get(key)
    if written is None and not required:
        return {}
    if not isinstance(written, Mapping) or not written:
        example = "{accuracy: {stage: student, metric: val/accuracy, direction: maximize}}"
        raise (document / key).error(f"{key} are a mapping such as {example}, got {written!r}")
    for name, entry in written.items():
        if not isinstance(entry, Mapping):
            raise (document / key / name).error(f"expected a mapping with a stage and a metric, got {entry!r}")
    return written


def _quantity(place: Place, entry: Mapping[str, Any], experiment: Experiment) -> Measured:
    stage, metric = entry.get("stage"), entry.get("metric")
    if stage not in experiment.stages:
        raise (place / "stage").error(
            f"there is no stage {stage!r}{suggestion(str(stage), experiment.stages)}; "
            f"{experiment.name} has {listing(experiment.stages)}",
        )
    if not isinstance(metric, str) or not (metric.startswith("val/") or metric in (PARAMETERS, SECONDS)):
        raise (place / "metric").error(
            f"expected a validation metric such as val/accuracy, or {PARAMETERS}, or {SECONDS}, got {metric!r}; "
            "a sweep does not touch the test split",
        )
    return Measured(str(stage), metric)


def _bound(place: Place, bound: Any, experiment: Experiment) -> tuple[float | Measured, float]:  # noqa: ANN401  any YAML
    # True and False are ints to Python, but no bounds.
    if isinstance(bound, int | float) and not isinstance(bound, bool):
        return float(bound), 0.0
    if not isinstance(bound, Mapping):
        raise place.error(f"expected a number, or {{stage: teacher, metric: val/accuracy, plus: -0.01}}: {bound!r}")
    check_keys(place, bound, BOUND, "a bound")
    plus = bound.get("plus", 0.0)
    if not isinstance(plus, int | float) or isinstance(plus, bool):
        raise (place / "plus").error(f"expected a number, got {plus!r}")
    return _quantity(place, bound, experiment), float(plus)
