"""The table of CONTRIBUTING.md, a test a row: what trains a stage again, and what must not."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kdlab.configuration import fingerprint, libraries
from tests.changes import CHANGES, FILE, KEPT, PLACED, vector
from tests.projects import OWN, Project, forget, stage


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    path = list(sys.path)
    found = Project(tmp_path / "project")
    monkeypatch.chdir(found.folder)
    monkeypatch.setenv("PARTS", str(found.folder / "parts"))
    monkeypatch.setenv("HOME", str(found.folder))
    yield found
    sys.path[:] = path
    forget()


@pytest.mark.parametrize("name", CHANGES)
def test_trains_again(name: str, project: Project) -> None:
    prepare, change, concerned = CHANGES[name]
    prepare(project)
    before = project.prints()
    change(project)
    after = project.prints()
    assert {one for one in before if before[one] != after[one]} == concerned


@pytest.mark.parametrize("name", KEPT)
def test_trains_nothing(name: str, project: Project) -> None:
    prepare, change = KEPT[name]
    prepare(project)
    before = project.prints()
    change(project)
    assert sorted(project.prints().values()) == sorted(before.values())


def test_a_project_may_move_with_all_that_it_names(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PLACED(project)
    project.content["stages"]["wide"] = stage("Supervised", {"class_path": "owned.Net", "init_args": {}})
    absolute = project.content["stages"]["wide"]["module"]["init_args"]["model"]["init_args"]
    absolute["file"] = str(project.folder / FILE)
    before = project.prints()
    moved = project.copied(tmp_path / "elsewhere" / "project")
    absolute["file"] = str(moved.folder / FILE)
    monkeypatch.chdir(moved.folder)
    monkeypatch.setenv("PARTS", str(moved.folder / "parts"))
    sys.path[:] = [place for place in sys.path if not place.startswith(str(project.folder))]
    assert moved.prints() == before


def test_devices_threads_and_tracking_train_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before, threads = project.prints(), torch.get_num_threads()
    assert project.prints(devices=2, accelerator="cpu", only=("student", "baseline"), debug=True) == before
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    torch.set_num_threads(threads + 1)
    try:
        assert project.prints() == before
    finally:
        torch.set_num_threads(threads)


def test_another_version_of_a_library_trains_again_whoever_names_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "import torch" in OWN
    before = project.prints()
    libraries.version_of.cache_clear()

    found_by = libraries._distributions

    def newer(package: str) -> list[Any]:
        # Whoever's class a distribution is: importlib_metadata, once it is imported, puts its own in place of Python's.
        found: list[Any] = list(found_by(package))
        if package != "torchmetrics":
            return found
        return [SimpleNamespace(version="99.0", locate_file=one.locate_file) for one in found]

    monkeypatch.setattr(libraries, "_distributions", newer)
    after = project.prints()
    libraries.version_of.cache_clear()
    assert {one for one in before if before[one] != after[one]} == {"baseline", "student"}, "own code imports it"


def test_another_seed_and_another_format_train_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before = project.prints()
    project.content["seeds"] = [1]
    other = project.prints()
    assert before["teacher"] == other["teacher"], "a teacher has a seed of its own"
    assert before["student"] != other["student"]
    monkeypatch.setattr(fingerprint, "FORMAT", fingerprint.FORMAT + 1)
    assert not set(other.values()) & set(project.prints().values())


def test_a_reference_teacher_tests_again_and_trains_nothing(project: Project) -> None:
    before = project.planned()
    project.arguments("teacher")["task_weight"] = 2
    after = project.planned()
    assert before["baseline"][0] == after["baseline"][0]
    assert before["baseline"][1] != after["baseline"][1], "its fidelity is measured against another teacher"


def test_how_reference_teachers_are_combined_tests_again(project: Project) -> None:
    stages = project.content["stages"]
    stages["second"] = stage("Supervised", task_weight=3)
    combining = project.experiments / "combining.py"
    code = "from torch import nn\n\n\nclass Mean(nn.Module):\n    def forward(self, all):\n        return all.mean(0)\n"
    combining.write_text(code)
    stages["student"] |= {"teacher": ["teacher", "second"], "combine": {"class_path": "combining.Mean"}}
    before = project.planned()
    combining.write_text(code.replace("mean(0)", "sum(0)"))
    del sys.modules["combining"]
    after = project.planned()
    assert before["teacher"] == after["teacher"]
    assert before["baseline"][1] != after["baseline"][1]


@pytest.mark.parametrize("what", ["file", "settings", "code", "takes"])
def test_what_a_metric_computes_tests_again_and_trains_nothing(project: Project, what: str) -> None:
    project.at("evaluate", "metrics", "score")["init_args"] = {"file": FILE}
    (project.experiments / "scoring.py").write_text("from owned import Score\n\n\nclass More(Score):\n    pass\n")
    project.at("evaluate", "metrics")["more"] = {"class_path": "scoring.More"}
    sys.modules.pop("scoring", None)
    before = project.planned()
    if what == "file":
        vector(project)
    elif what == "code":
        (project.experiments / "scoring.py").write_text("from owned import Score\n\n\nclass More(Score):\n    x = 1\n")
        sys.modules.pop("scoring")
    elif what == "takes":
        project.at("evaluate", "metrics", "score")["takes"] = {"logits": "inputs"}
    else:
        project.at("evaluate", "metrics", "score", "init_args")["times"] = 3.0
    after = project.planned()
    assert {one: found[0] for one, found in before.items()} == {one: found[0] for one, found in after.items()}
    assert not {found[1] for found in before.values()} & {found[1] for found in after.values()}


def test_the_table_in_contributing_has_a_test_for_each_row() -> None:
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)(?:\[([^\]]+)\])?`", text)
    assert len(named) > 20
    known = {"test_trains_again": set(CHANGES), "test_trains_nothing": set(KEPT)}
    for file, test, case in named:
        code = (Path(__file__).parents[2] / file).read_text()
        assert f"def {test}(" in code, f"CONTRIBUTING.md names {test}, which is not there"
        assert not case or case in known[test], f"CONTRIBUTING.md names {test}[{case}], which is not there"
    for test, cases in known.items():
        shown = {case for _, found, case in named if found == test}
        assert cases - shown == set(), f"rows of {test} that CONTRIBUTING.md does not have"
