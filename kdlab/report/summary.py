"""An execution in numbers: values by stage and seed, intervals, comparisons, and the best stages."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kdlab.records.executions import Execution, StageUse
from kdlab.records.stage_records import StageRecord
from kdlab.report.columns import ACCURACY, COLUMNS, Column
from kdlab.report.statistics import Difference, Estimate, compare, corrected, estimate
from kdlab.report.winners import winners

# What the tables call a model that always predicts the most frequent class.
MAJORITY = "majority class"


@dataclass(frozen=True)
class Stage:
    """One stage over its seeds.

    Attributes:
        name: The stage's name in the experiment.
        kind: What kind of stage it is; empty if that is not recorded.
        uses: The stage as the execution used it, by seed.
        values: Test metrics as ``values[key][seed]``.
        teaches: True if another stage of the execution learns from it.
    """

    name: str
    kind: str
    uses: list[StageUse]
    values: Mapping[str, Mapping[int, float]]
    teaches: bool

    @property
    def finished(self) -> int:
        """Number of seeds with test scores."""
        return len({seed for values in self.values.values() for seed in values})

    @property
    def record(self) -> StageRecord | None:
        """What the folder of the first seed records of the stage; None if it records nothing."""
        return self.uses[0].folder.record

    def estimate(self, key: str) -> Estimate:
        """Return the mean of a test metric over seeds, with its interval."""
        return estimate(list(self.values.get(key, {}).values()))


@dataclass(frozen=True)
class Summary:
    """Everything that the pages show of an execution.

    Attributes:
        execution: The execution.
        stages: Its stages, in order.
        baseline: The stage that the others are compared with; None if there is none.
        differences: Stage minus baseline, by stage and metric.
        winners: The best stages by metric.
    """

    execution: Execution
    stages: list[Stage]
    baseline: Stage | None
    differences: Mapping[tuple[str, str], Difference]
    winners: Mapping[str, set[str]]

    @property
    def columns(self) -> list[Column]:
        """The columns for which there is any number; the accuracy alone if there is none."""
        measured = {key for stage in self.stages for key in stage.values}
        return [column for column in COLUMNS if column.key in measured] or [ACCURACY]

    @property
    def compared(self) -> list[Stage]:
        """The stages that are compared with the baseline: all others that do not teach."""
        return [stage for stage in self.stages if not stage.teaches and stage is not self.baseline]

    def best(self, column: Column) -> set[str]:
        """Return the stage that is better than every other, teachers apart, and those equal to it in every seed.

        The set is empty if one of the others cannot be told from the best. The paired test decides that. Its p is
        corrected for all rows of the comparison and for the further tests that this takes, so that nothing is best that
        the comparison calls noise.
        """
        return self.winners.get(column.key, set())

    @property
    def largest(self) -> tuple[str, float] | None:
        """The most frequent class of the test data and its share in [0, 1]; None if that is not recorded."""
        largest_class = (self.execution.data or {}).get("largest")
        return None if largest_class is None else (str(largest_class["class"]), float(largest_class["share"]))


def summarise(execution: Execution) -> Summary:
    """Read the stage folders of an execution, and return their numbers, compared and tested."""
    teachers = teachers_of(execution.uses)
    stages = [_stage(execution, name, teachers) for name in execution.stages]
    baseline = _baseline(stages)
    differences: dict[tuple[str, str], Difference] = {}
    for stage in stages:
        if baseline is None or stage is baseline or stage.teaches:
            continue
        for column in COLUMNS:
            values, others = stage.values.get(column.key, {}), baseline.values.get(column.key, {})
            difference = compare(values, others) if column.quality else None
            if difference is not None:
                differences[stage.name, column.key] = difference
    students = {stage.name: stage.values for stage in stages if not stage.teaches}
    won = winners(students, None if baseline is None else baseline.name, differences)
    return Summary(execution, stages, baseline, corrected(differences), won)


def teachers_of(uses: Iterable[StageUse]) -> set[str]:
    """Return the fingerprints of the stages that teach these; one stage may have several teachers."""
    records = [use.folder.record for use in uses]
    return {teacher for record in records if record is not None for teacher in record.teachers}


def _stage(execution: Execution, name: str, teachers: set[str]) -> Stage:
    uses = execution.of(name)
    values: dict[str, dict[int, float]] = {}
    for use in uses:
        for key, value in execution.tested(use).items():
            values.setdefault(key, {})[use.seed] = value
    record = uses[0].folder.record
    teaches = any(use.folder.path.name in teachers for use in uses)
    return Stage(name, "" if record is None else record.kind, uses, values, teaches)


def _baseline(stages: list[Stage]) -> Stage | None:
    """Return the stage called baseline, or else the first that learns alone and teaches nobody."""
    named = [stage for stage in stages if stage.name == "baseline"]
    return next((stage for stage in (*named, *stages) if stage.name == "baseline" or _learns_alone(stage)), None)


def _learns_alone(stage: Stage) -> bool:
    record = stage.record
    return record is not None and not record.teachers and record.start is None and not stage.teaches
