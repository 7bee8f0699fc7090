"""A teacher on record: its file teaches to the same bit, and what it cannot do is refused before anything trains."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from kdlab.__main__ import main
from kdlab.configuration.experiment import read
from kdlab.errors import StageError
from kdlab.modules.recorded import Recorded
from kdlab.records.weights import load_weights
from kdlab.stages.context import Context
from kdlab.stages.options import Options
from kdlab.stages.run import Outcome, run
from kdlab.teacher import Ensemble, RecordedTeacher, Teacher, teacher_of
from tests.experiments import SOFT, STUDENT, content, stage, written
from tests.stages.resumes import bench, check_every_checkpoint, place


class OnRecord(nn.Module):
    """Knows three samples."""

    def of_samples(self, index: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])[index]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        raise ValueError("asked about an input")


BATCH = {"inputs": torch.zeros(2, 4), "index": torch.tensor([2, 0]), "view": torch.tensor([0, 0])}


def test_a_teacher_on_record_answers_by_index_and_by_nothing_else() -> None:
    teacher = teacher_of(OnRecord())
    assert isinstance(teacher, RecordedTeacher)
    assert type(teacher_of(nn.Linear(2, 2))) is Teacher
    for answer in (teacher.logits(BATCH), teacher.exact_logits(BATCH), teacher.logits_and_features(BATCH, [])[0]):
        assert answer.tolist() == [[5.0, 6.0], [1.0, 2.0]]
    assert Ensemble([teacher, teacher]).logits(BATCH).tolist() == [[5.0, 6.0], [1.0, 2.0]]
    assert not Ensemble([teacher, Teacher(nn.Linear(2, 2))]).explainable
    for answer_of in (teacher.logits, teacher.exact_logits):
        with pytest.raises(ValueError, match="asked about an input"):
            answer_of({"inputs": BATCH["inputs"], "index": BATCH["index"]})  # augmented: no view
    with pytest.raises(ValueError, match="has no layers"):
        teacher.logits_and_features(BATCH, ["head"])


def test_a_network_that_knows_no_samples_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Linear has no of_samples\(index\); name a SoftLabelFile, or use Supervised"):
        Recorded(nn.Linear(2, 2))


def recorded(path: Path) -> dict[str, Any]:
    model = {"class_path": "SoftLabelFile", "init_args": {"path": str(path)}}
    return {"module": {"class_path": "Recorded", "init_args": {"model": model}}}


def soft_labels(experiment: Path, out: Path, *more: str) -> Path:
    command = [
        "soft-labels",
        str(experiment),
        "teacher",
        "--out",
        str(out),
        "--mlruns",
        str(out.parent / "mlruns"),
        *more,
    ]
    assert main(command) == 0
    return out


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """Teacher, baseline and student, trained, with an explainer that compares teacher and student."""
    folder = tmp_path_factory.mktemp("taught")
    stages = {name: content()["stages"][name] for name in ("teacher", "baseline", "student")}
    path = written(folder, stages=stages)
    return path, run(read(path), Options(mlruns=folder / "mlruns"))


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".npz"])
def test_a_file_that_one_run_writes_teaches_another_to_the_same_weights(
    taught: tuple[Path, Outcome], tmp_path: Path, ending: str
) -> None:
    path, first = taught
    file = soft_labels(path, path.parent / f"teacher{ending}")
    stages = {**content()["stages"], "teacher": recorded(file)}
    stages.pop("joint")
    second = run(read(written(tmp_path, stages=stages)), Options(mlruns=tmp_path / "mlruns"))
    assert [node.stage for node in second.nodes] == [node.stage for node in first.nodes]
    students = [node for node in second.nodes if node.stage == "student"]
    assert len(students) == 2
    for node, before in zip(second.nodes, first.nodes, strict=True):
        own, others = load_weights(node.folder.weights), load_weights(before.folder.weights)
        if node.stage != "teacher":
            assert own.keys() == others.keys()
            assert all(torch.equal(own[name], others[name]) for name in own)
        scores, before_scores = (
            json.loads(next(folder.path.glob("test-*.json")).read_text())["metrics"]
            for folder in (node.folder, before.folder)
        )
        same = [name for name in before_scores if name.startswith(("test/fidelity", "test/accuracy", "test/nll"))]
        assert len(same) == (2 if node.stage == "teacher" else 6)
        assert {name: scores[name] for name in same} == {name: before_scores[name] for name in same}
        # Nothing can be asked of the teacher but what stands in the file.
        assert not any("explanation/teacher_" in name for name in scores)
        assert ("cost/latency_ms" in scores) == (node.stage != "teacher")
        assert any(name.startswith("test/explanation/") for name in scores) == (node.stage != "teacher")


def test_another_file_under_the_name_is_another_stage(taught: tuple[Path, Outcome], tmp_path: Path) -> None:
    path, _ = taught
    file = soft_labels(path, path.parent / "changed.csv")
    experiment = written(tmp_path, stages={"teacher": recorded(file), "student": content()["stages"]["student"]})
    options = Options(mlruns=tmp_path / "mlruns")
    before = Context(read(experiment), options).plan()
    file.write_text(file.read_text().replace("train/0", "somewhere") + "train/0,0.0,0.0,0.0\n")
    after = Context(read(experiment), options).plan()
    assert all(one.fingerprint != other.fingerprint for one, other in zip(before, after, strict=True))


def test_a_file_of_another_split_is_refused(taught: tuple[Path, Outcome], tmp_path: Path) -> None:
    path, _ = taught
    file = soft_labels(path, path.parent / "split.csv")
    header, first, second, *others = file.read_text().splitlines()
    swapped = [first.replace("train/0", "train/1"), second.replace("train/1", "train/0")]
    file.write_text("\n".join([header, *swapped, *others]))
    experiment = written(tmp_path, stages={"teacher": recorded(file), "student": content()["stages"]["student"]})
    with pytest.raises(StageError, match="other labels than the data to 2 of 160 samples, such as '1' to 'train/0'"):
        run(read(experiment), Options(mlruns=tmp_path / "mlruns"))


def test_probabilities_teach_what_the_logits_teach_up_to_rounding(taught: tuple[Path, Outcome], tmp_path: Path) -> None:
    path, _ = taught
    logits, odds = (soft_labels(path, path.parent / f"{n}.npz", *m) for n, m in (("l", []), ("p", ["--probabilities"])))
    options = Options(mlruns=tmp_path / "mlruns")
    of_both = []
    for number, file in enumerate((logits, odds)):
        (tmp_path / str(number)).mkdir()
        experiment = written(tmp_path / str(number), stages={"teacher": recorded(file)}, evaluate={})
        network = Context(read(experiment), options).experiment.build_model("teacher")
        of_both.append(network.logits.softmax(1))
    torch.testing.assert_close(of_both[0], of_both[1], atol=2e-6, rtol=1e-5)


MATCH = {"match": {"loss": {"class_path": "ExplanationMatch"}, "explainer": {"class_path": "InputGradient"}}}
HINT = {"hint": {"loss": {"class_path": "FitNets"}, "layers": {"relu1": "relu1"}}}


@pytest.mark.parametrize(
    ("distill", "message"),
    [
        (MATCH, "the teacher is a black box and cannot be explained"),
        (HINT, r"the teacher is a black box and has no layers"),
    ],
)
def test_terms_that_need_more_than_predictions_are_refused_before_training(
    taught: tuple[Path, Outcome], tmp_path: Path, distill: dict[str, Any], message: str
) -> None:
    path, _ = taught
    file = soft_labels(path, path.parent / "refused.parquet")
    student = {"teacher": "teacher", "module": stage("Distilled", STUDENT, distill={**SOFT, **distill})}
    experiment = written(tmp_path, stages={"teacher": recorded(file), "student": student})
    with pytest.raises(StageError, match=message):
        run(read(experiment), Options(mlruns=tmp_path / "mlruns"))
    assert not list((tmp_path / "mlruns").rglob("done.json"))


def test_augmented_batches_are_refused_before_training(taught: tuple[Path, Outcome], tmp_path: Path) -> None:
    path, _ = taught
    file = soft_labels(path, path.parent / "augmented.parquet")
    data = content()["data"]
    data["init_args"]["augment"] = {"class_path": "ShiftFlip", "init_args": {"shift": 1}}
    stages = {"teacher": recorded(file), "student": content()["stages"]["student"]}
    with pytest.raises(StageError, match="can be asked about no other input"):
        run(read(written(tmp_path, stages=stages, data=data)), Options(mlruns=tmp_path / "mlruns"))
    assert not list((tmp_path / "mlruns").rglob("done.json"))


def test_a_stage_goes_on_from_each_of_its_checkpoints(
    taught: tuple[Path, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = taught
    file = soft_labels(path, path.parent / "resumed.parquet")
    alone = bench(tmp_path, monkeypatch, {"alone": recorded(file)}, evaluate={})
    copies = check_every_checkpoint(alone, monkeypatch, tmp_path / "kept")
    assert {epoch for epoch, _ in map(place, copies)} == {0}


def refused(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    assert main(["soft-labels", *command]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_the_command_refuses_in_one_line(
    taught: tuple[Path, Outcome], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = taught
    own = ("--mlruns", str(path.parent / "mlruns"))
    out = str(tmp_path / "out.csv")
    assert "has no stage 'techer' (did you mean 'teacher'?)" in refused(capsys, str(path), "techer", "--out", out, *own)
    error = refused(capsys, str(path), "teacher", "--out", str(tmp_path / "out.pt"), *own)
    assert "the ending says the format, and is one of .parquet, .pq, .csv, .npz" in error
    error = refused(capsys, str(path), "student", "--seed", "9", "--out", out, *own)
    assert "stage 'student' with seed 9 is not finished; kdlab run made_up.yaml --only student trains it" in error
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_the_module_that_the_file_needs(
    taught: tuple[Path, Outcome], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = taught
    file = soft_labels(path, path.parent / "shown.csv")
    first, _, module = capsys.readouterr().out.strip().splitlines()
    assert first == f"{file}: logits of 160 samples for 3 classes"
    assert yaml.safe_load(module) == recorded(file)
