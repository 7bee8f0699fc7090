"""What the report says of an execution in words: who was trained, who is the baseline, who stands above whom."""

import json
from pathlib import Path

import pytest

from kdlab.records.executions import read_execution
from kdlab.report.columns import ACCURACY
from kdlab.report.findings import findings
from kdlab.report.summary import Summary, summarise
from kdlab.report.tables import costs, origin, settings
from tests.stage_folders import begin_stage, complete_stage, write_execution


def summary(mlruns: Path) -> Summary:
    execution = read_execution(mlruns, "run1")
    assert execution is not None
    return summarise(execution)


def test_what_was_trained_is_told_from_what_was_reused(tmp_path: Path) -> None:
    folders = [begin_stage(tmp_path, "student", seed) for seed in range(3)]
    for folder in folders:
        complete_stage(folder, epochs=1, files=False)
    write_execution(tmp_path, folders)
    path = tmp_path / "executions" / "run1.json"
    record = json.loads(path.read_text())
    record["stages"][1]["reused"] = True
    path.write_text(json.dumps(record))
    facts = origin(summary(tmp_path).execution)
    assert facts["Trained"] == "2 stage runs, 1 more reused from earlier executions"
    assert facts["Seeds"] == "0, 1, 2"
    assert facts["Took"] == "60 s"


@pytest.mark.parametrize(
    ("accuracy", "said"),
    [
        (0.90, "student is 5.0 points of accuracy below its teacher, with 20 % of its parameters."),
        (0.97, "student is 2.0 points of accuracy above its teacher, with 20 % of its parameters."),
        (0.95, "student is as accurate as its teacher, with 20 % of its parameters."),
        (0.9499, "student is as accurate as its teacher, with 20 % of its parameters."),
    ],
)
def test_a_student_stands_above_or_below_its_teacher(accuracy: float, said: str, tmp_path: Path) -> None:
    teacher = begin_stage(tmp_path, "teacher")
    student = begin_stage(tmp_path, "student", teacher=teacher.name)
    for folder, score, size in ((teacher, 0.95, 1000), (student, accuracy, 200)):
        complete_stage(folder, {ACCURACY.key: score, "cost/parameters": size}, epochs=1, files=False)
    write_execution(tmp_path, [teacher, student])
    assert said in findings(summary(tmp_path))


@pytest.mark.parametrize("named", [False, True])
def test_the_baseline_is_the_stage_of_that_name_or_the_first_that_learns_alone(named: bool, tmp_path: Path) -> None:
    teacher = begin_stage(tmp_path, "teacher")
    student = begin_stage(tmp_path, "student", teacher=teacher.name)
    fine_tuned, alone = begin_stage(tmp_path, "fine_tuned"), begin_stage(tmp_path, "alone")
    path = fine_tuned / "stage.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"start": student.name}))
    folders = [teacher, student, fine_tuned, alone, *([begin_stage(tmp_path, "baseline")] if named else [])]
    for folder in folders:
        complete_stage(folder, epochs=1, files=False)
    write_execution(tmp_path, folders)
    baseline = summary(tmp_path).baseline
    assert baseline is not None
    assert baseline.name == ("baseline" if named else "alone")


@pytest.mark.parametrize(("last", "said"), [((0, 0), "0"), ((0, 2), "0–2"), ((1, 1), "1")])
def test_a_chosen_epoch_is_shown_also_where_it_is_the_first(last: tuple[int, int], said: str, tmp_path: Path) -> None:
    folders = [begin_stage(tmp_path, "student", seed) for seed in (0, 1)]
    for folder, epoch in zip(folders, last, strict=True):
        complete_stage(folder, epochs=epoch + 1, files=False)
    write_execution(tmp_path, folders)
    head, (row,) = costs(summary(tmp_path))
    assert dict(zip(head, row, strict=True))["Chosen epoch"] == said


def test_a_setting_that_is_the_same_in_all_stages_is_not_listed(tmp_path: Path) -> None:
    given = {"first": {"first.width": 8, "depth": 2}, "second": {"second.width": 16, "depth": 2, "alpha": 0.5}}
    folders = [begin_stage(tmp_path, name, parameters=parameters) for name, parameters in given.items()]
    for folder in folders:
        complete_stage(folder, epochs=1, files=False)
    write_execution(tmp_path, folders)
    head, rows = settings(summary(tmp_path))
    assert head == ["Parameter", "first", "second"]
    assert rows == [["width", "8", "16"], ["alpha", "–", "0.5"]]
