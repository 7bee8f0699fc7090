"""What the stages of an execution share: the data and what they hold, and stages built from what was planned."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from kdlab.__main__ import main
from kdlab.configuration.experiment import read
from kdlab.data.table import Table
from kdlab.errors import StageError
from kdlab.records.executions import read_execution
from kdlab.report.findings import findings
from kdlab.report.summary import summarise
from kdlab.stages.context import Context
from kdlab.stages.options import Options
from tests.changes import FILE, NET, given, rewrite, vector
from tests.projects import Project, forget
from tests.stage_folders import begin_stage, complete_stage, write_execution


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    path = list(sys.path)
    found = Project(tmp_path / "project")
    monkeypatch.chdir(found.folder)
    yield found
    sys.path[:] = path
    forget()


def opened(project: Project, before: Context | None = None, *overrides: str) -> Context:
    project.file.write_text(yaml.safe_dump(project.content, sort_keys=False))
    return Context(read(project.file, overrides), Options(mlruns=project.folder / "mlruns", accelerator="cpu"), before)


def address_of(context: Context, stage: str) -> str:
    return context.graph.node(stage, 0).fingerprint


def test_the_next_trial_has_the_data_of_the_one_before(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Table] = []
    content_hash = Table.content_hash

    def noting(data: Table) -> str:
        hashed.append(data)
        return content_hash(data)

    monkeypatch.setattr(Table, "content_hash", noting)
    first = opened(project)
    first.plan()
    second = opened(project, first, "student.alpha=0.5")
    assert second.data is first.data
    assert [one.folder for one in second.plan()][:2] == [one.folder for one in first.plan()][:2]
    assert len(hashed) == 1, "the digest of the data is computed once"


def test_a_file_of_data_that_is_replaced_meanwhile_is_not_what_a_trial_in_memory_has(project: Project) -> None:
    first = opened(project)
    project.write_table(first=0.6)
    following, other = opened(project, first), opened(project)
    assert address_of(following, "teacher") == address_of(first, "teacher"), "it trains on what it read"
    assert address_of(other, "teacher") != address_of(first, "teacher")


@pytest.mark.parametrize("override", ["data.batch_size=5", "data.path=data/other.csv", "data.delimiter=;"])
def test_other_settings_of_the_data_are_other_data(project: Project, override: str) -> None:
    first = opened(project)
    other = (project.folder / "data" / "table.csv").read_text().replace("0.5", "0.6")
    (project.folder / "data" / "other.csv").write_text(other)
    if "delimiter" in override:
        (project.folder / "data" / "table.csv").write_text(other.replace(",", ";"))
    second = opened(project, first, override)
    assert second.data is not first.data
    assert address_of(second, "teacher") != address_of(first, "teacher")


def test_own_data_whose_file_changed_are_read_again_by_the_next_trial(project: Project) -> None:
    project.content["data"] = {"class_path": "owned_data.Foreign", "init_args": {"folder": "parts"}}
    first = opened(project)
    assert opened(project, first).data is first.data
    vector(project)
    assert opened(project, first).data is not first.data


def test_a_stage_is_not_built_from_another_file_than_its_fingerprint_knows(project: Project) -> None:
    given(*NET, file=FILE)(project)
    del project.content["stages"]["student"]  # whose teacher would have to be finished
    context = opened(project)
    teacher, baseline = context.plan()
    assert context.seeded_stage(baseline).stage == "baseline"
    vector(project)
    assert context.seeded_stage(teacher).stage == "teacher", "what it does not name may change"
    with pytest.raises(StageError, match="stage 'baseline': a file or module that it names was changed while"):
        context.seeded_stage(baseline)
    assert address_of(opened(project), "baseline") != baseline.folder.fingerprint


def test_what_a_callback_writes_to_stops_nothing(project: Project) -> None:
    del project.content["stages"]["student"]
    project.content["stages"]["baseline"]["callbacks"] = [{"class_path": "owned.Hook", "init_args": {"file": FILE}}]
    context = opened(project)
    baseline = context.plan()[1]
    rewrite(project.folder / FILE)
    assert context.seeded_stage(baseline).stage == "baseline"


def test_code_that_is_edited_meanwhile_is_not_what_a_worker_trains_with(project: Project) -> None:
    first = opened(project)
    before = address_of(first, "baseline")
    project.edit("helping", "deeper.VALUE", "-deeper.VALUE")
    assert address_of(opened(project, first), "baseline") == before, "this process has imported the old code"
    forget()
    assert address_of(opened(project), "baseline") != before


@pytest.mark.parametrize(("name", "said"), [("Foreign", True), ("Honest", False)])
def test_a_plan_says_of_data_that_they_are_known_by_their_settings_alone(
    project: Project, name: str, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    project.content["data"] = {"class_path": f"owned_data.{name}"}
    project.file.write_text(yaml.safe_dump(project.content, sort_keys=False))
    assert main(["plan", str(project.file)]) == 0
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 3 + said
    assert (f"the data ({name}) are known by their settings alone" in printed) == said
    assert ("content_hash() -> str" in printed) == said


@pytest.mark.parametrize("name", ["Foreign", None])
def test_a_report_says_of_data_that_they_are_known_by_their_settings_alone(tmp_path: Path, name: str | None) -> None:
    folder = begin_stage(tmp_path)
    record = json.loads((folder / "stage.json").read_text())
    (folder / "stage.json").write_text(json.dumps({**record, "unknown_data": name}))
    complete_stage(folder)
    write_execution(tmp_path, [folder])
    execution = read_execution(tmp_path, "run1")
    assert execution is not None
    sentence = "The data (Foreign) are known by their settings alone: a finished stage does not notice"
    assert any(line.startswith(sentence) for line in findings(summarise(execution))) == (name is not None)


def test_a_file_beside_an_own_class_in_a_package_counts(project: Project) -> None:
    package = project.experiments / "packed"
    package.mkdir()
    (package / "net.py").write_text("from owned import Net\n\n\nclass Beside(Net):\n    pass\n")
    (package / "list.txt").write_text("1")
    model = {"class_path": "packed.net.Beside", "init_args": {"file": "list.txt"}}
    project.arguments("baseline")["model"] = model
    before = address_of(opened(project), "baseline")
    rewrite(package / "list.txt")
    after = address_of(opened(project), "baseline")
    sys.modules.pop("packed.net")
    sys.modules.pop("packed")
    assert after != before


def test_a_whole_number_as_default_is_the_same_when_it_is_written_out(project: Project) -> None:
    project.edit("owned", "width: int = 4,", "width: int = 4, slope: float = 1,")
    forget()
    before = address_of(opened(project), "baseline")
    given(*NET, slope=1.0)(project)
    assert address_of(opened(project), "baseline") == before
