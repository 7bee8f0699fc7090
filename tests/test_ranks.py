"""A stage on two devices: child processes train it, and it comes out as in one."""

from pathlib import Path

import pytest
import torch

from kdlab.configuration.experiment import read
from kdlab.errors import ConfigurationError
from kdlab.records.weights import load_weights
from kdlab.stages.options import Options
from kdlab.stages.run import run
from tests.experiments import content, written

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_two_processes_train_and_score_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = written(tmp_path, stages={"baseline": {"module": content()["stages"]["baseline"]["module"]}})
    tested = {}
    for devices in (1, 2):
        # No conv net among what is compared: batch statistics are each process's own.
        options = Options(mlruns=tmp_path / f"mlruns{devices}", accelerator="cpu", devices=devices)
        (one,) = run(read(path, ["seeds=[0]"]), options).nodes
        found = one.folder.test_result(one.evaluation)
        assert found is not None
        assert one.folder.done is not None
        tested[devices] = (found.metrics, load_weights(one.folder.weights), one.folder.done)
    alone, both = tested[1], tested[2]
    for name, value in alone[1].items():
        torch.testing.assert_close(both[1][name], value, rtol=1e-4, atol=1e-5)
    assert both[2].steps == alone[2].steps
    for name in ("test/accuracy", "test/explanation/deletion_auc", "test/nll"):
        assert both[0][name] == pytest.approx(alone[0][name], abs=1e-4)


def test_a_teacher_and_a_student_are_trained_on_two_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    options = Options(mlruns=tmp_path / "mlruns", accelerator="cpu", devices=2, only=("joint",))
    # Together they see when it is time to explain.
    outcome = run(read(written(tmp_path), ["seeds=[0]", "evaluate.every=null"]), options)
    assert all(one.trained and one.tested for one in outcome.nodes)


@pytest.mark.parametrize("kind", ["Fitted", "Recorded"])
def test_a_teacher_that_no_steps_train_takes_one_of_the_devices(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tree = {"estimator": {"class_path": "sklearn.tree.DecisionTreeClassifier", "init_args": {"max_depth": 3}}}
    rows = [f"{split}/{row},0,1,2" for split, rows in (("train", 80), ("val", 40), ("test", 40)) for row in range(rows)]
    (tmp_path / "soft.csv").write_text("\n".join(["id,logit:0,logit:1,logit:2", *rows]))
    model = {
        "Fitted": {"class_path": "Estimator", "init_args": tree},
        "Recorded": {"class_path": "SoftLabelFile", "init_args": {"path": str(tmp_path / "soft.csv")}},
    }[kind]
    teacher = {"module": {"class_path": kind, "init_args": {"model": model}}}
    path = written(tmp_path, stages={"teacher": teacher, "student": content()["stages"]["student"]}, evaluate={})
    options = Options(mlruns=tmp_path / "mlruns", accelerator="cpu", devices=2)
    outcome = run(read(path, ["seeds=[0]"]), options)
    assert [one.stage for one in outcome.nodes if one.trained and one.tested] == ["teacher", "student"]


def test_what_the_ranks_complain_of_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = written(tmp_path, stages={"baseline": content()["stages"]["baseline"]})
    options = Options(mlruns=tmp_path / "mlruns", accelerator="cpu", devices=3)
    with pytest.raises(ConfigurationError, match=r"failed on 3 devices: .*batch_size 16"):
        run(read(path, ["seeds=[0]"]), options)
