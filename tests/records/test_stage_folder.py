"""A finished folder is proved: whatever is missing, short or changed, it is trained again, and everybody says so."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kdlab.configuration.experiment import read
from kdlab.records.cleaning import free
from kdlab.records.files import SMALL
from kdlab.records.stage_folder import PARTS, StageFolder
from kdlab.stages.context import plan
from kdlab.stages.options import Options
from kdlab.stages.run import run
from tests.experiments import content, written
from tests.stage_folders import begin_stage, complete_stage, done, log_epoch


def finished(mlruns: Path) -> StageFolder:
    path = begin_stage(mlruns)
    complete_stage(path)
    return StageFolder(path)


def test_from_any_line_on_the_journal_is_read_to_what_a_checkpoint_covers(tmp_path: Path) -> None:
    path = begin_stage(tmp_path)
    starts = [0]
    for epoch in range(5):
        log_epoch(path, epoch, commit=epoch < 3)
        starts.append((path / "metrics.jsonl").stat().st_size)
    for line, start in enumerate(starts):
        assert [point["epoch"] for point in StageFolder(path).points(start)] == list(range(line, 3))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def change(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))


DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (Path.unlink, "is missing"),
    (cut, "bytes where"),
    (change, "does not hold what was written"),
]


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize(("damage", "said"), DAMAGES)
def test_every_part_is_proved(tmp_path: Path, name: str, damage: Callable[[Path], None], said: str) -> None:
    folder = finished(tmp_path)
    assert folder.done is not None
    assert folder.fault is None
    damage(folder.path / name)
    assert folder.done is None
    assert folder.fault is not None
    assert folder.fault.startswith(name)
    assert said in folder.fault


@pytest.mark.parametrize("held", ["", "{", "[]", "{}", '{"files": {}}', '{"files": {"model.safetensors": 3}}'])
def test_a_damaged_or_old_word_of_the_end_is_none(tmp_path: Path, held: str) -> None:
    folder = finished(tmp_path)
    (folder.path / "done.json").write_text(held)
    assert folder.done is None
    assert "done.json is damaged" in str(folder.fault)


def test_large_weights_are_read_again_when_their_time_or_size_changed(tmp_path: Path) -> None:
    folder = finished(tmp_path)
    folder.weights.write_bytes(bytes(SMALL + 1))
    folder.finish(done())
    assert folder.fault is None
    folder.weights.write_bytes(bytes(SMALL) + b"1")
    assert folder.fault == "model.safetensors does not hold what was written"


def test_without_weights_nothing_is_finished(tmp_path: Path) -> None:
    folder = StageFolder(begin_stage(tmp_path))
    with pytest.raises(FileNotFoundError):
        folder.finish(done())
    assert not (folder.path / "done.json").exists()


class Removals:
    """The files in the order in which they go."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        unlink = Path.unlink

        def noted(path: Path, missing_ok: bool = False) -> None:
            self.names.append(path.name)
            unlink(path, missing_ok)

        patch.setattr(Path, "unlink", noted)


@pytest.mark.parametrize("delete", [StageFolder.clear, StageFolder.restart, lambda folder: free(folder.path)])
def test_every_deletion_takes_first_what_says_that_the_stage_is_finished_or_may_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delete: Callable[[StageFolder], object]
) -> None:
    folder = finished(tmp_path)
    folder.resume.write_bytes(b"checkpoint")
    removals = Removals(monkeypatch)
    delete(folder)
    assert removals.names[:2] == ["done.json", "resume.ckpt"]
    assert "model.safetensors" in removals.names[2:]
    assert not folder.path.exists() or not folder.weights.exists()


def test_a_training_begun_anew_keeps_its_name_only_where_nothing_of_it_was_committed(tmp_path: Path) -> None:
    folder = StageFolder(begin_stage(tmp_path))
    (folder.path / "tracking.json").write_text("{}")
    (folder.path / "test-e1.json").write_text("{}")
    folder.restart()
    assert {path.name for path in folder.path.iterdir()} == {"stage.json", "tracking.json"}
    folder.commit(100)
    folder.restart()
    assert list(folder.path.iterdir()) == []


def test_a_folder_that_is_not_whole_is_trained_again_with_a_line_that_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    stages = {name: content()["stages"][name] for name in ("teacher", "student")}
    experiment = read(written(tmp_path, stages=stages, seeds=[0]))
    options = Options(mlruns=tmp_path / "mlruns", accelerator="cpu")
    teacher, student = run(experiment, options).nodes
    weights = [one.folder.weights.read_bytes() for one in (teacher, student)]
    for one in (teacher, student):
        cut(one.folder.weights)
    assert [one.trained for one in plan(experiment, options)] == [False, False]
    capsys.readouterr()
    outcome = run(experiment, options)
    said = capsys.readouterr().out
    for one in (teacher, student):
        assert said.count(f"{one.stage} seed 0: model.safetensors has") == 1
    assert said.count("it is trained again") == 2
    assert [one.folder.weights.read_bytes() for one in outcome.nodes] == weights
    assert all(one.trained and one.tested for one in outcome.nodes)


@pytest.mark.parametrize("damaged", ["model.safetensors", "metrics.jsonl"])
def test_the_report_leaves_out_the_numbers_of_a_folder_that_is_not_whole(tmp_path: Path, damaged: str) -> None:
    from kdlab.report.report import report
    from tests.stage_folders import write_execution

    folder = finished(tmp_path)
    write_execution(tmp_path, [folder.path])
    assert "0.9" in report(tmp_path).markdown.read_text() or "90" in report(tmp_path).markdown.read_text()
    cut(folder.path / damaged)
    written_again = report(tmp_path)
    assert f"student seed 0: {damaged} has" in written_again.findings[0]
    assert "90.0" not in written_again.markdown.read_text()
