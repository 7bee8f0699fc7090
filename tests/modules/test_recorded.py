"""A teacher on record: its file teaches to the same bit, and what it cannot do is refused before anything trains."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from kdlab.__main__ import main
from kdlab.configuration.experiment import read
from kdlab.data.soft_label_table import read as read_table
from kdlab.errors import StageError
from kdlab.explainers.input_gradient import InputGradient
from kdlab.models.mlp import MLP
from kdlab.modules.distilled import Distilled
from kdlab.modules.recorded import Recorded
from kdlab.modules.term import Term
from kdlab.records.weights import load_weights
from kdlab.stages.context import Context
from kdlab.stages.options import Options
from kdlab.stages.run import Outcome, run
from kdlab.stages.seeded_stage import put
from kdlab.teacher import Ensemble, RecordedTeacher, Teacher, teacher_of
from kdlab.testing.loss_signals import Prepared
from tests.experiments import SOFT, STUDENT, content, stage, written
from tests.families import buildable
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
    """Every kind of stage, trained, with an explainer that compares teacher and student."""
    folder = tmp_path_factory.mktemp("taught")
    path = written(folder)
    return path, run(read(path), Options(mlruns=folder / "mlruns"))


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".npz"])
def test_a_file_that_one_run_writes_teaches_another_to_the_same_weights(
    taught: tuple[Path, Outcome], tmp_path: Path, ending: str
) -> None:
    path, first = taught
    file = soft_labels(path, path.parent / f"teacher{ending}")
    stages = {**content()["stages"], "teacher": recorded(file)}
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


def network_of(file: Path, folder: Path) -> Any:
    folder.mkdir()
    experiment = written(folder, stages={"teacher": recorded(file)}, evaluate={})
    return Context(read(experiment), Options(mlruns=folder / "mlruns")).experiment.build_model("teacher")


def test_of_the_k_largest_the_rest_is_shared(taught: tuple[Path, Outcome], tmp_path: Path) -> None:
    path, _ = taught
    whole = network_of(soft_labels(path, path.parent / "whole.csv", "--probabilities"), tmp_path / "whole")
    one = network_of(soft_labels(path, path.parent / "one.csv", "--top-k", "1"), tmp_path / "one")
    all_three = network_of(soft_labels(path, path.parent / "three.csv", "--top-k", "3"), tmp_path / "three")
    assert torch.equal(all_three.logits, whole.logits)
    odds, kept = whole.logits.exp(), one.logits.exp()
    largest, others = odds.max(dim=1), kept.sort(dim=1).values[:, :-1]
    assert torch.equal(kept.argmax(dim=1), largest.indices)
    torch.testing.assert_close(kept.max(dim=1).values, largest.values)
    torch.testing.assert_close(others, ((1 - largest.values) / 2)[:, None].expand(-1, 2), atol=2e-6, rtol=1e-4)


LAYERED, EXPLAINED = {"features", "teacher_features"}, {"attributions", "teacher_attributions"}
BUILDS = buildable("losses", classes=3, samples=12)


class Kept(nn.Module):
    """What a network says of twelve samples."""

    def __init__(self, network: nn.Module, inputs: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", network(inputs).detach())

    def of_samples(self, index: torch.Tensor) -> torch.Tensor:
        rows: torch.Tensor = self.rows[index]
        return rows

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        raise ValueError("asked about an input")


@pytest.mark.parametrize("build", BUILDS.values(), ids=[target.__name__ for target in BUILDS])
def test_every_loss_is_taught_by_a_record_as_by_its_network_or_refused(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    network, inputs = MLP(36, 3, [8]), torch.randn(12, 1, 6, 6)
    batch = {
        "inputs": inputs,
        "target": torch.arange(12) % 3,
        "index": torch.arange(12),
        "view": torch.zeros(12).long(),
    }
    batch["mask"] = (inputs > 0).float()

    def value_by(teacher: Teacher) -> float:
        torch.manual_seed(1)
        loss = build()
        takers = (loss.forward, loss.prepare) if isinstance(loss, Prepared) else (loss.forward,)
        asked = {name for taker in takers for name in inspect.signature(taker).parameters}
        layers = {"relu1": "relu1"} if asked & LAYERED else {}
        explainer = InputGradient if asked & EXPLAINED else None
        module = Distilled(MLP(36, 3, [8]), teacher, distill={"term": Term(loss, layers=layers, explainer=explainer)})
        module.baseline = torch.zeros(1, 6, 6)
        module.prepare(batch)
        return float(module.terms(module.signals(batch), 0)["term"][1].detach())

    record, asked = teacher_of(Kept(network, inputs)), inspect.signature(build().forward).parameters.keys()
    if asked & LAYERED or "teacher_attributions" in asked:
        with pytest.raises(ValueError, match=r"the teacher is a black box and (has no layers|cannot be explained)"):
            value_by(record)
    else:
        assert value_by(record) == value_by(Teacher(network))


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
    assert "stage 'student' is not trained with seed 9; it has 0, 1" in error
    error = refused(capsys, str(path), "student", "--set", "student.alpha=3", "--out", out, *own)
    assert "stage 'student' with seed 0 is not finished; kdlab run made_up.yaml --only student trains it" in error
    assert list(tmp_path.iterdir()) == []


def test_samples_that_nobody_numbers_are_refused_on_both_sides(
    taught: tuple[Path, Outcome], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = {"class_path": "tests.stages.foreign.Pairs"}
    path = written(tmp_path, data=foreign, stages={"teacher": content()["stages"]["teacher"]}, evaluate={})
    own = ("--mlruns", str(tmp_path / "mlruns"))
    error = refused(capsys, str(path), "teacher", "--out", str(tmp_path / "out.csv"), *own)
    assert "the samples of Pairs have no number, so a row could not be told from another" in error
    file = soft_labels(taught[0], taught[0].parent / "foreign.csv")
    path = written(tmp_path, data=foreign, stages={"teacher": recorded(file)}, evaluate={})
    with pytest.raises(
        StageError, match="SoftLabelFile needs classes, sample_names, which the data do not say of them"
    ):
        run(read(path), Options(mlruns=tmp_path / "mlruns"))


def test_the_command_prints_the_module_that_the_file_needs(
    taught: tuple[Path, Outcome], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = taught
    file = soft_labels(path, path.parent / "shown.csv")
    first, _, module = capsys.readouterr().out.strip().splitlines()
    assert first == f"{file}: logits of 160 samples for 3 classes"
    assert yaml.safe_load(module) == recorded(file)


def test_a_path_that_yaml_would_misread_is_quoted(
    taught: tuple[Path, Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = taught
    file = soft_labels(path, path.parent / "a, b: {c}.csv")
    assert yaml.safe_load(capsys.readouterr().out.splitlines()[-1]) == recorded(file)


def test_labels_and_seed_of_the_file_are_those_that_were_asked_for(taught: tuple[Path, Outcome]) -> None:
    path, first = taught
    files = [path.parent / "of0.npz", path.parent / "of1.npz"]
    own = ["--mlruns", str(path.parent / "mlruns")]
    for seed, file in enumerate(files):
        assert main(["soft-labels", str(path), "student", "--seed", str(seed), "--out", str(file), *own]) == 0
    students = [node for node in first.nodes if node.stage == "student"]
    data = Context(read(path), Options(mlruns=path.parent / "mlruns")).data
    for node, table in zip(students, [read_table(str(file)) for file in files], strict=True):
        network = Context(read(path), Options(mlruns=path.parent / "mlruns")).experiment.build_model("student")
        put(network, load_weights(node.folder.weights), "its weights")
        batches = list(data.every_batch())
        with torch.no_grad():
            logits = torch.cat([network.eval()(batch["inputs"]) for batch in batches])
        assert torch.equal(torch.from_numpy(table.values), logits)
        assert table.labels == [str(target) for batch in batches for target in batch["target"].tolist()]


def test_a_teacher_on_record_teaches_beside_a_network(taught: tuple[Path, Outcome], tmp_path: Path) -> None:
    path, _ = taught
    file = soft_labels(path, path.parent / "beside.parquet")
    teacher, student = content()["stages"]["teacher"], content()["stages"]["student"]
    # The same teacher twice has the mean that it has once.
    stages = {"network": teacher, "teacher": recorded(file), "student": {**student, "teacher": ["network", "teacher"]}}
    both = run(read(written(tmp_path, stages=stages)), Options(mlruns=tmp_path / "mlruns"))
    alone = [node for node in taught[1].nodes if node.stage == "student"]
    together = [node for node in both.nodes if node.stage == "student"]
    for one, other in zip(together, alone, strict=True):
        own, others = load_weights(one.folder.weights), load_weights(other.folder.weights)
        assert all(torch.equal(own[name], others[name]) for name in own)


def test_a_forest_s_file_teaches_patients_as_the_forest_does(tmp_path: Path) -> None:
    estimator = {"class_path": "sklearn.ensemble.RandomForestClassifier", "init_args": {"n_estimators": 20}}
    forest = {"class_path": "Estimator", "init_args": {"estimator": estimator}}
    student = {"class_path": "MLP", "init_args": {"hidden": [4]}}
    stages = {
        "teacher": {"module": {"class_path": "Fitted", "init_args": {"model": forest}}},
        "student": {"teacher": "teacher", "labelled": 20, "module": stage("Distilled", student, distill=SOFT)},
    }
    common: dict[str, Any] = {"data": {"class_path": "BreastCancer"}, "seeds": [0], "evaluate": {}}
    path = written(tmp_path, stages=stages, **common)
    first = run(read(path), Options(mlruns=tmp_path / "mlruns"))
    stages["teacher"] = recorded(soft_labels(path, tmp_path / "forest.csv"))
    second = run(read(written(tmp_path, stages=stages, **common)), Options(mlruns=tmp_path / "mlruns"))
    live, by_file = (load_weights(outcome.nodes[1].folder.weights) for outcome in (first, second))
    assert first.nodes[1].fingerprint != second.nodes[1].fingerprint
    assert all(torch.equal(live[name], by_file[name]) for name in live)
