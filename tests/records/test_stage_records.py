"""What a folder says of its stage, written and read back; what is damaged is nothing."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from kdlab.records.stage_records import Done, StageRecord, TestResult
from kdlab.records.typed_json import from_json

STAGE = StageRecord(
    experiment="digits",
    stage="student",
    seed=3,
    fingerprint="abc",
    config={"module": {"class_path": "Distilled"}},
    parameters={"student.alpha": 1.0},
    teacher=["a", "b"],
    start="c",
    unknown_data="Theirs",
    kind="Distilled",
    created=17,
)
DONE = Done(2, "val/accuracy", 0.9, 30, 3, 12.5, 2.5, {"torch": "2.6"}, 100.0, {"model.safetensors": {"size": 7}})
TESTED = TestResult({"test/accuracy": 0.9, "test/auroc": None}, 1000, 2)
#: The record, its file, and how it is read.
RECORDS: dict[str, tuple[Any, str, Callable[[Path], object]]] = {
    "stage": (STAGE, "stage.json", StageRecord.read),
    "done": (DONE, "done.json", Done.read),
    "test": (TESTED, "test-e1.json", lambda folder: TestResult.read(folder, "e1")),
}
WRITERS: dict[str, Callable[[Path], None]] = {
    "stage": STAGE.write,
    "done": DONE.write,
    "test": lambda folder: TESTED.write(folder, "e1"),
}


@pytest.mark.parametrize("name", RECORDS)
def test_what_is_written_is_read(name: str, tmp_path: Path) -> None:
    record, file, read = RECORDS[name]
    assert read(tmp_path) is None
    WRITERS[name](tmp_path)
    assert read(tmp_path) == record
    # In the order of the fields, under their own names: other programs read these files.
    assert list(json.loads((tmp_path / file).read_text())) == [field.name for field in fields(record)]


@pytest.mark.parametrize(("name", "missing"), [(name, f.name) for name in RECORDS for f in fields(RECORDS[name][0])])
def test_without_what_it_needs_or_with_another_type_it_is_nothing(name: str, missing: str, tmp_path: Path) -> None:
    _, file, read = RECORDS[name]
    WRITERS[name](tmp_path)
    content = json.loads((tmp_path / file).read_text())
    optional = {"teacher", "start", "unknown_data", "memory_bytes", "files"}
    (tmp_path / file).write_text(json.dumps({key: value for key, value in content.items() if key != missing}))
    assert (read(tmp_path) is not None) == (missing in optional)
    (tmp_path / file).write_text(json.dumps({**content, missing: True}))
    assert read(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"text"', "null"])
@pytest.mark.parametrize("name", RECORDS)
def test_a_damaged_file_is_nothing(name: str, text: str, tmp_path: Path) -> None:
    _, file, read = RECORDS[name]
    (tmp_path / file).write_text(text)
    assert read(tmp_path) is None


def test_keys_of_a_later_kdlab_are_left_out() -> None:
    assert from_json(TestResult, {"metrics": {}, "time": 1, "epoch": 0, "later": 2}) == TestResult({}, 1, 0)


def test_memory_that_was_not_measured_is_not_written(tmp_path: Path) -> None:
    Done(-1, None, None, 0, 0, 0.0, 0.0, {}).write(tmp_path)
    assert "memory_bytes" not in json.loads((tmp_path / "done.json").read_text())
    assert Done.read(tmp_path) == Done(-1, None, None, 0, 0, 0.0, 0.0, {})


@pytest.mark.parametrize(("teacher", "teachers"), [(None, []), ("a", ["a"]), (["a", "b"], ["a", "b"])])
def test_teachers_are_none_one_or_several(teacher: Any, teachers: list[str]) -> None:
    values = {field.name: getattr(STAGE, field.name) for field in fields(STAGE)}
    assert StageRecord(**{**values, "teacher": teacher}).teachers == teachers
