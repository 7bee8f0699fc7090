"""The nodes of an experiment: which teacher a stage without one is compared with."""

from pathlib import Path

import pytest

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


def test_what_the_only_teacher_starts_from_is_compared_with_none(tmp_path: Path) -> None:
    given = content()["stages"]
    stages = {
        "first": given["teacher"],
        "second": {**given["teacher"], "start": "first"},
        "teacher": {**given["teacher"], "start": "second"},
        "student": given["student"],
    }
    context = Context(read(written(tmp_path, stages=stages)), Options(mlruns=tmp_path / "mlruns", accelerator="cpu"))
    compared = {name: context.graph.node(name, 0).compared_as for name in stages}
    assert compared == {"first": None, "second": None, "teacher": None, "student": "student"}


@pytest.mark.parametrize(
    ("only", "planned"),
    [
        ((), ["teacher", "baseline", "student", "joint"]),
        (("baseline",), ["teacher", "baseline"]),  # it is compared with the teacher, though it learns from none
        (("student",), ["teacher", "student"]),
        (("teacher",), ["teacher"]),
    ],
)
def test_what_a_stage_is_compared_with_is_planned_before_it(
    only: tuple[str, ...], planned: list[str], tmp_path: Path
) -> None:
    context = Context(read(written(tmp_path)), Options(mlruns=tmp_path / "mlruns", accelerator="cpu", only=only))
    nodes = context.plan()
    assert list(dict.fromkeys(node.stage for node in nodes)) == planned
    assert [(node.stage, node.seed) for node in nodes] == [
        (name, seed) for name in planned for seed in ((0,) if name == "teacher" else (0, 1))
    ]
