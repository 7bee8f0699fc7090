"""The nodes of an experiment: which teacher a stage without one is compared with."""

from pathlib import Path

from kdlab.configuration.experiment import read
from kdlab.stages.context import Context
from kdlab.stages.options import Options
from tests.experiments import content, written


def reference(folder: Path, **taught_by: str) -> list[str]:
    """The teachers that the baseline is compared with, beside students that these stages teach."""
    given = content()["stages"]
    students = {name: {**given["student"], "teacher": teacher} for name, teacher in taught_by.items()}
    stages = {"teacher": given["teacher"], "other": given["teacher"], "baseline": given["baseline"], **students}
    context = Context(read(written(folder, stages=stages)), Options(mlruns=folder / "mlruns", accelerator="cpu"))
    return [node.stage for node in context.graph.node("baseline", 0).reference]


def test_a_baseline_is_compared_with_the_only_teacher_and_with_none_where_there_are_two(tmp_path: Path) -> None:
    assert reference(tmp_path, student="teacher", second="teacher") == ["teacher"]
    assert reference(tmp_path, student="teacher", second="other") == []
