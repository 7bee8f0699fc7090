"""The life of an experiment: trained once, reused, resumed, tested again, and never half-written."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from filelock import FileLock, Timeout
from safetensors.torch import load_file

import kdlab.stages.training
from kdlab.configuration.experiment import read
from kdlab.errors import ConfigurationError, Interrupted
from kdlab.models.mlp import MLP
from kdlab.records.executions import executions
from kdlab.records.stage_folder import StageFolder
from kdlab.records.weights import load_weights
from kdlab.stages import execution
from kdlab.stages.checkpoints import Checkpoints
from kdlab.stages.context import plan
from kdlab.stages.graph import StageNode
from kdlab.stages.options import Options
from kdlab.stages.rehearsal import rehearse
from kdlab.stages.run import Outcome, run
from kdlab.stages.seeded_stage import SeededStage
from tests.data.made_up import MadeUp
from tests.experiments import content, written


def ran(path: Path, mlruns: Path, overrides: Sequence[str] = (), **options: object) -> Outcome:
    return run(read(path, overrides), Options(mlruns=mlruns, accelerator="cpu", **options))  # type: ignore[arg-type]


def of(outcome: Outcome, stage: str, seed: int = 0) -> StageNode:
    return next(one for one in outcome.nodes if (one.stage, one.seed) == (stage, seed))


def logged(folder: StageFolder) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in folder.journal.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "time"} for line in lines]


def results(one: StageNode) -> dict[str, float]:
    found = one.folder.test_result(one.evaluation)
    assert found is not None
    return {name: value for name, value in found.metrics.items() if not name.startswith("cost/")}


@pytest.fixture(scope="module", autouse=True)
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One MLflow database for all: making one takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}")
        yield


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Outcome]:
    folder = tmp_path_factory.mktemp("experiment")
    path = written(folder)
    return path, folder / "mlruns", ran(path, folder / "mlruns")


def test_every_stage_leaves_its_weights_its_numbers_and_a_report(first: tuple[Path, Path, Outcome]) -> None:
    _, _, outcome = first
    assert [(p.stage, p.seed) for p in outcome.nodes] == [
        ("teacher", 0),
        *((stage, seed) for stage in ("baseline", "student", "joint") for seed in (0, 1)),
    ]
    for one in outcome.nodes:
        assert one.folder.done is not None
        assert (one.folder.path / "model.safetensors").is_file()
        assert not one.folder.resume.exists()
        assert list(one.folder.path.glob("best-*")) == []
        assert results(one)["test/accuracy"] > 0.3
        epochs = [line["epoch"] for line in logged(one.folder) if "val/accuracy" in line["metrics"]]
        assert epochs == [0, 1]
    assert outcome.report.html.is_file()
    assert outcome.link is not None


def test_a_stage_says_how_many_steps_and_seconds_its_training_took(first: tuple[Path, Path, Outcome]) -> None:
    _, _, outcome = first
    batches = len(MadeUp(classes=3, batch_size=16).train_dataloader())
    assert batches > 1
    for one in outcome.nodes:
        done, tested = one.folder.done, one.folder.test_result(one.evaluation)
        assert done is not None
        assert tested is not None
        assert (done.epochs, done.steps) == (2, 2 * batches)
        assert tested.metrics["cost/training_seconds"] == done.seconds > done.evaluation_seconds


def test_a_rehearsal_says_which_teachers_are_still_untrained(first: tuple[Path, Path, Outcome], tmp_path: Path) -> None:
    path, mlruns, _ = first
    for folder, hinted in ((tmp_path / "mlruns", ["student", "joint"]), (mlruns, [])):
        lines = rehearse(read(path), Options(mlruns=folder, accelerator="cpu"))
        assert [line.split(":")[0] for line in lines if "(with teacher still untrained)" in line] == hinted


def test_the_joint_student_equals_the_distilled_one_bit_for_bit(first: tuple[Path, Path, Outcome]) -> None:
    _, _, outcome = first
    for seed in (0, 1):
        alone = load_weights(of(outcome, "student", seed).folder.weights)
        joint = load_weights(of(outcome, "joint", seed).folder.weights)
        assert all(torch.equal(joint[name], value) for name, value in alone.items())
        assert any(name.startswith("explainer.") for name in joint)


def test_a_second_run_reuses_every_stage_with_equal_numbers(first: tuple[Path, Path, Outcome]) -> None:
    path, mlruns, outcome = first
    before = {one.folder.path: (results(one), one.folder.path.stat().st_mtime_ns) for one in outcome.nodes}
    again = ran(path, mlruns)
    assert {one.folder.path: results(one) for one in again.nodes} == {k: v[0] for k, v in before.items()}
    assert all((one.folder.path / "done.json").stat().st_mtime_ns <= before[one.folder.path][1] for one in again.nodes)


def test_a_stage_that_is_trained_afresh_is_not_said_to_be_reused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, stages={"teacher": content()["stages"]["teacher"]}, seeds=[0])
    ran(path, tmp_path / "mlruns")
    capsys.readouterr()
    afresh = ran(path, tmp_path / "mlruns", fresh=("teacher",))
    shown = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("[1/1] teacher seed 0: "))
    assert not shown.endswith("reused")
    assert [use.reused for use in next(executions(tmp_path / "mlruns")).uses] == [False]
    assert "1 stage runs, 0 more reused" in afresh.report.markdown.read_text()


def test_another_folder_gives_the_same_numbers(first: tuple[Path, Path, Outcome], tmp_path: Path) -> None:
    path, _, outcome = first
    again = ran(path, tmp_path / "mlruns", only=("student",), seeds=None)
    one, other = of(outcome, "student"), of(again, "student")
    assert one.folder.fingerprint == other.folder.fingerprint
    assert logged(one.folder) == logged(other.folder)
    assert results(one) == results(other)


def test_a_changed_weight_retrains_only_what_it_changes(first: tuple[Path, Path, Outcome]) -> None:
    path, mlruns, _ = first
    planned = plan(read(path, ["student.alpha=0.5"]), Options(mlruns=mlruns))
    assert {one.stage for one in planned if not one.trained} == {"student"}


def test_a_changed_evaluation_tests_again_and_trains_nothing(first: tuple[Path, Path, Outcome]) -> None:
    path, mlruns, _ = first
    planned = plan(read(path, ["evaluate.probe=8"]), Options(mlruns=mlruns))
    assert all(one.trained and not one.tested for one in planned)


def test_only_a_stage_brings_its_teachers_along(first: tuple[Path, Path, Outcome]) -> None:
    path, mlruns, _ = first
    planned = plan(read(path), Options(mlruns=mlruns, only=("student",)))
    assert [one.stage for one in planned] == ["teacher", "student", "student"]


def test_a_teacher_varies_with_the_seed_if_asked(tmp_path: Path) -> None:
    stages = content()["stages"]
    stages["teacher"]["vary"] = "seed"
    planned = plan(read(written(tmp_path, stages=stages)), Options(mlruns=tmp_path / "mlruns"))
    assert [one.seed for one in planned if one.stage == "teacher"] == [0, 1]
    students = [one.teachers for one in planned if one.stage == "student"]
    assert len(set(students)) == 2


def test_a_rehearsal_says_a_line_a_stage_and_leaves_nothing(tmp_path: Path) -> None:
    lines = rehearse(read(written(tmp_path)), Options(mlruns=tmp_path / "mlruns"))
    stages = [line.split(":")[0] for line in lines if not line.startswith(" ")]
    assert stages == ["teacher", "baseline", "student", "joint"]
    terms = [line.split()[0] for line in lines if line.startswith(" ")]
    assert terms == ["task", "task", "task", "soft", "task", "soft", "explainer/imitation", "explainer/consistency"]
    assert all("of the gradient" in line or "not for the student" in line for line in lines if line.startswith(" "))
    assert not (tmp_path / "mlruns").exists()


class Killed(BaseException):
    """What a killed process would leave: no handler runs for it here."""


@pytest.fixture(scope="module")
def drawing(first: tuple[Path, Path, Outcome], tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A student with dropout beside its explainer, undisturbed."""
    return ran(first[0], tmp_path_factory.mktemp("drawing"), DRAWING, only=("joint",))


DRAWING = ("seeds=[0]", "joint.module.model.dropout=0.5")


@pytest.mark.parametrize("kill_at", [3, pytest.param(5, marks=pytest.mark.slow), 7])
def test_an_interrupted_run_goes_on_bit_for_bit(
    first: tuple[Path, Path, Outcome], drawing: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int
) -> None:
    """The teacher is cut once, then the student; every checkpoint of a stage is tried under ``tests/stages``."""
    steps, killed = Counter[str](), []

    def dies(self: Checkpoints, *_: object) -> None:
        name = self._folder.fingerprint
        steps[name] += 1
        if steps[name] == kill_at:
            killed.append(name)
            raise Killed

    monkeypatch.setattr(kdlab.stages.training, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(Checkpoints, "on_train_batch_start", dies)
    for _ in range(2):
        with pytest.raises(Killed):
            ran(first[0], tmp_path / "mlruns", DRAWING, only=("joint",))
    begun = [json.loads(file.read_text()) for file in (tmp_path / "mlruns").glob("stages/*/stage.json")]
    resumed = ran(first[0], tmp_path / "mlruns", DRAWING, only=("joint",))
    assert killed == [of(resumed, stage).folder.fingerprint for stage in ("teacher", "joint")]
    # Ten steps each, of which the killed one begins twice.
    assert set(steps.values()) == {11}
    # MLflow knows the run of a stage by when it began.
    assert len(begun) == 2
    assert all(of(resumed, one["stage"]).folder.record.created == one["created"] for one in begun)
    for stage in ("teacher", "joint"):
        one, other = of(drawing, stage), of(resumed, stage)
        assert logged(one.folder) == logged(other.folder)
        assert one.folder.done.epoch == other.folder.done.epoch
        left, right = (load_file(p.folder.path / "model.safetensors") for p in (one, other))
        assert all(torch.equal(left[name], right[name]) for name in left)


def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    path, mlruns = written(tmp_path), tmp_path / "mlruns"
    (planned, *_) = plan(read(path), Options(mlruns=mlruns))
    planned.folder.path.mkdir(parents=True)
    planned.folder.resume.write_bytes(b"not a checkpoint")
    with pytest.raises(ConfigurationError, match=r"resume\.ckpt is damaged; train this stage afresh"):
        ran(path, mlruns)
    ran(path, mlruns, fresh=("teacher",), only=("teacher",))


def test_a_damaged_soft_label_cache_is_made_anew(first: tuple[Path, Path, Outcome]) -> None:
    path, mlruns, outcome = first
    cache = of(outcome, "teacher").folder.path / "soft_labels.npy"
    whole = cache.read_bytes()
    cache.write_bytes(whole[:-8] + b"8bytes!!")
    ran(path, mlruns, ["student.alpha=0.25"], only=("student",))
    assert cache.read_bytes() == whole


def test_weights_that_exist_already_teach_without_training(first: tuple[Path, Path, Outcome], tmp_path: Path) -> None:
    _, _, outcome = first
    given = load_weights(of(outcome, "teacher").folder.weights)
    torch.save({name.removeprefix("model."): value for name, value in given.items()}, tmp_path / "teacher.pt")
    stages = content()["stages"]
    stages["teacher"] |= {"weights": str(tmp_path / "teacher.pt"), "trainer": {"max_epochs": 0}}
    path = written(tmp_path, stages=stages)
    ready = ran(path, tmp_path / "mlruns", ["seeds=[0]"], only=("student",))
    assert results(of(ready, "teacher"))["test/accuracy"] == results(of(outcome, "teacher"))["test/accuracy"]
    assert results(of(ready, "student")) == results(of(outcome, "student"))


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    torch.save({"head.weight": torch.zeros(2, 2)}, tmp_path / "teacher.pt")
    stages = content()["stages"]
    stages["teacher"] |= {"weights": str(tmp_path / "teacher.pt"), "trainer": {"max_epochs": 0}}
    with pytest.raises(ConfigurationError, match="do not fit ConvNet"):
        ran(written(tmp_path, stages=stages), tmp_path / "mlruns")


def test_classes_that_differ_between_teacher_and_student_are_refused_before_training(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(ConfigurationError, match="stage 'student'"):
        ran(path, tmp_path / "mlruns", ["student.module.model.classes=4"])
    assert not list((tmp_path / "mlruns" / "stages").glob("*/done.json"))


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlruns").write_text("a file is in the way")
    with pytest.raises(ConfigurationError, match="cannot write to"):
        ran(written(tmp_path), tmp_path / "mlruns")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="a GPU was asked for"):
        run(read(written(tmp_path)), Options(mlruns=tmp_path / "mlruns", accelerator="gpu"))


def test_a_monitor_that_nobody_logs_is_refused_before_training(tmp_path: Path) -> None:
    stages = content()["stages"]
    stages["student"]["monitor"] = "val/acuracy"
    with pytest.raises(ConfigurationError, match=r"monitor 'val/acuracy'"):
        ran(written(tmp_path, stages=stages), tmp_path / "mlruns")
    assert not list((tmp_path / "mlruns" / "stages").glob("*/done.json"))


def test_averaged_weights_are_kept_where_they_were_scored(tmp_path: Path) -> None:
    stages = content()["stages"]
    averaging = "lightning.pytorch.callbacks.EMAWeightAveraging"
    stages["baseline"]["callbacks"] = [{"class_path": averaging, "init_args": {"decay": 0.5}}]
    path = written(tmp_path, stages={"baseline": stages["baseline"]})
    (one,) = ran(path, tmp_path / "mlruns", ["seeds=[0]"]).nodes
    assert one.folder.done is not None
    data = MadeUp(classes=3, batch_size=16)
    model = MLP(inputs=64, classes=3, hidden=[8])
    kept = load_weights(one.folder.weights)
    model.load_state_dict({name.removeprefix("model."): value for name, value in kept.items()})
    data.setup()
    target = data.splits["val"]["target"]
    accuracy = (model(data.splits["val"]["inputs"]).argmax(1) == target).double().mean()
    assert one.folder.done.best == pytest.approx(float(accuracy))


def test_an_own_fidelity_metric_is_left_out_where_there_is_no_teacher(tmp_path: Path) -> None:
    metrics = {"own": {"class_path": "kdlab.metrics.divergence.TotalVariation"}}
    evaluate = content()["evaluate"] | {"metrics": metrics}
    outcome = ran(written(tmp_path, evaluate=evaluate), tmp_path / "mlruns", ["seeds=[0]"], only=("student",))
    assert "test/own" not in results(of(outcome, "teacher"))
    assert "test/own" in results(of(outcome, "student"))


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
def test_an_explainer_that_cannot_explain_is_refused_before_training(tmp_path: Path) -> None:
    evaluate = {"explainer": {"class_path": "captum.attr.Saliency"}, "probe": 8}
    with pytest.raises(ConfigurationError, match=r"adapter: .class_path: Captum"):
        ran(written(tmp_path, evaluate=evaluate), tmp_path / "mlruns")
    assert not list((tmp_path / "mlruns" / "stages").glob("*/done.json"))


def test_a_training_that_never_validates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no epoch could be chosen"):
        ran(written(tmp_path), tmp_path / "mlruns", ["trainer.check_val_every_n_epoch=5"])


def test_a_stage_is_locked_while_it_is_trained_and_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def watched(name: str, do: Callable[..., None]) -> Callable[..., None]:
        def looks(seeded: SeededStage, *arguments: object) -> None:
            do(seeded, *arguments)
            with pytest.raises(Timeout):
                FileLock(seeded.folder.path / "lock", timeout=0).acquire()
            seen.append(name)

        return looks

    monkeypatch.setattr(execution, "train", watched("train", execution.train))
    monkeypatch.setattr(execution, "test", watched("test", execution.test))
    ran(written(tmp_path, stages={"baseline": content()["stages"]["baseline"]}), tmp_path / "mlruns", ["seeds=[0]"])
    assert seen == ["train", "test"]


@pytest.mark.filterwarnings("ignore:term .* was exactly zero")
def test_the_weights_are_those_of_the_chosen_epoch_and_not_of_the_last(tmp_path: Path) -> None:
    """The first of four epochs is as good as any later one, and the same as that of a training of one epoch."""
    path = written(tmp_path, stages={"baseline": content()["stages"]["baseline"]})
    kept = []
    for epochs in (1, 4):
        wild = ["seeds=[0]", "baseline.module.optimizer.lr=0.3", f"trainer.max_epochs={epochs}"]
        (one,) = ran(path, tmp_path / "mlruns", wild).nodes
        assert one.folder.done is not None
        assert (one.folder.done.epoch, one.folder.done.epochs) == (0, epochs)
        kept.append(load_weights(one.folder.weights))
    assert all(torch.equal(kept[1][name], value) for name, value in kept[0].items())


@pytest.mark.parametrize(
    ("raised", "status"), [(RuntimeError("a defect"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (None, "FINISHED")]
)
def test_an_execution_is_recorded_as_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException | None, status: str
) -> None:
    def ends(*arguments: object) -> None:
        if raised is not None:
            raise raised

    monkeypatch.setattr(execution.CurrentExecution, "complete", ends)
    expected = pytest.raises((RuntimeError, Interrupted)) if raised is not None else nullcontext()
    with expected:
        ran(written(tmp_path), tmp_path / "mlruns", ["seeds=[0]"])
    (record,) = executions(tmp_path / "mlruns")
    assert record.status == status
    assert record.ended is not None
    assert not list((tmp_path / "mlruns" / "executions").glob("*.lock"))
