"""Estimators of files as teachers: taken as they are, known by their content, refused before anything trains."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kdlab.configuration.experiment import read
from kdlab.data.breast_cancer import BreastCancer
from kdlab.errors import StageError
from kdlab.stages.context import Context
from kdlab.stages.options import Options
from kdlab.stages.run import run
from tests.experiments import SOFT, stage, written
from tests.models.test_estimator_bytes import boosting


def experiment(folder: Path, file: Path, distill: dict[str, Any] = SOFT, **arguments: Any) -> Path:
    student = {"class_path": "MLP", "init_args": {"hidden": [8]}}
    model = {"class_path": "LoadedEstimator", "init_args": {"path": str(file), **arguments}}
    teacher = {"module": {"class_path": "Supervised", "init_args": {"model": model}}, "trainer": {"max_epochs": 0}}
    stages = {
        "teacher": teacher,
        "student": {"teacher": "teacher", "labelled": 20, "module": stage("Distilled", student, distill=distill)},
    }
    common: dict[str, Any] = {"data": {"class_path": "BreastCancer"}, "seeds": [0], "trainer": {"max_epochs": 10}}
    return written(folder, stages=stages, evaluate={}, **common)


def fitted(estimator: Any) -> Any:
    """Fitted elsewhere: to measures in their own units, and to diagnoses by their names."""
    data = BreastCancer().arranged(0, None, transfer=False)
    train, description = data.splits["train"], data.description
    assert description.preparation is not None
    assert description.class_names is not None
    values = description.preparation.undone(train["inputs"]).numpy()
    return estimator.fit(values, np.array(description.class_names)[train["target"]])


def kept(folder: Path, estimator: Any) -> Path:
    skops.io.dump(fitted(estimator), folder / "own.skops")
    return folder / "own.skops"


TREE = {"trusted_types": ["sklearn.tree._tree.Tree"]}


def test_a_forest_of_a_file_teaches_as_it_is_and_is_reused(tmp_path: Path) -> None:
    file = kept(tmp_path, RandomForestClassifier(n_estimators=20, random_state=0))
    path = experiment(tmp_path, file, **TREE)
    first = run(read(path), Options(mlruns=tmp_path / "mlruns"))
    teacher, student = (node.folder for node in first.nodes)
    assert teacher.done is not None
    assert (teacher.done.epochs, teacher.done.steps) == (0, 0)
    own, taught = (json.loads(next(one.path.glob("test-*.json")).read_text())["metrics"] for one in (teacher, student))
    # In other units, or with its classes the other way round, it would be wrong on about half of the test.
    assert own["test/accuracy"] > 0.9
    assert taught["test/fidelity/agreement"] > 0.9
    assert own["cost/bytes"] == file.stat().st_size
    written_at = [node.folder.weights.stat().st_mtime_ns for node in first.nodes]
    second = run(read(path), Options(mlruns=tmp_path / "mlruns"))
    assert [node.folder.weights.stat().st_mtime_ns for node in second.nodes] == written_at


def test_the_content_and_not_the_name_decides_the_stage(tmp_path: Path) -> None:
    file = kept(tmp_path, LogisticRegression(max_iter=10_000))
    (tmp_path / "elsewhere").mkdir()

    def fingerprints(path: Path) -> list[str]:
        return [node.fingerprint for node in Context(read(path), Options(mlruns=tmp_path / "mlruns")).plan()]

    before = fingerprints(experiment(tmp_path, file))
    content = file.read_bytes()
    kept(tmp_path, LogisticRegression(C=0.5, max_iter=10_000))
    after = fingerprints(experiment(tmp_path, file))
    assert all(one != other for one, other in zip(before, after, strict=True))
    file.write_bytes(content)
    assert fingerprints(experiment(tmp_path, file)) == before


@pytest.mark.parametrize("class_path", ["xgboost.XGBClassifier", "lightgbm.LGBMClassifier"])
def test_boosting_of_other_libraries_is_loaded(tmp_path: Path, class_path: str) -> None:
    estimator, names = boosting(class_path), ["benign", "malignant"]
    data = BreastCancer().arranged(0, None, transfer=False)
    assert data.class_names == ["malignant", "benign"]
    inputs, target = data.splits["train"]["inputs"], data.splits["train"]["target"]
    # XGBoost takes numbers alone: here 0 is benign, and in the data it is malignant.
    estimator.fit(inputs.numpy(), 1 - target.numpy())
    skops.io.dump(estimator, tmp_path / "own.skops")
    types = skops.io.get_untrusted_types(file=tmp_path / "own.skops")
    path = experiment(tmp_path, tmp_path / "own.skops", own_units=False, labels=names, trusted_types=types)
    network = Context(read(path), Options(mlruns=tmp_path / "mlruns")).experiment.build_model("teacher")
    expected = torch.as_tensor(estimator.predict_proba(inputs.numpy())[:, [1, 0]])
    assert torch.equal(network(inputs), expected.float().clamp_min(1e-6).log())
    assert (network(inputs).argmax(1) == target).float().mean() > 0.9


def of_three(folder: Path) -> Path:
    values = np.random.default_rng(0).normal(size=(60, 30))
    skops.io.dump(LogisticRegression().fit(values, np.arange(60) % 3), folder / "own.skops")
    return folder / "own.skops"


def of_four_features(folder: Path) -> Path:
    values = np.random.default_rng(0).normal(size=(60, 4))
    skops.io.dump(
        make_pipeline(StandardScaler(), LogisticRegression()).fit(values, np.arange(60) % 2), folder / "o.skops"
    )
    return folder / "o.skops"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda folder: kept(folder, RandomForestClassifier(3)),
            r"not trusted: sklearn\.tree\._tree\.Tree; if you know",
        ),
        (of_three, r"knows the classes \['0', '1', '2'\], and the data \['malignant', 'benign'\]"),
        (of_four_features, "stage 'teacher': X has 30 features, but StandardScaler is expecting 4 features as input"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_trains(tmp_path: Path, make: Any, message: str) -> None:
    path = experiment(tmp_path, make(tmp_path))
    with pytest.raises(StageError, match=message) as raised:
        run(read(path), Options(mlruns=tmp_path / "mlruns"))
    assert "\n" not in str(raised.value)
    assert not list((tmp_path / "mlruns").rglob("done.json"))


def test_without_a_word_of_no_epochs_it_is_said_what_to_write(tmp_path: Path) -> None:
    path = experiment(tmp_path, kept(tmp_path, LogisticRegression(max_iter=10_000)))
    with pytest.raises(StageError, match=r"LoadedEstimator has no parameters to train; set trainer: \{max_epochs: 0\}"):
        run(read(path, ["teacher.trainer.max_epochs=3"]), Options(mlruns=tmp_path / "mlruns"))


def test_terms_that_need_gradients_of_it_are_refused(tmp_path: Path) -> None:
    match = {"match": {"loss": {"class_path": "ExplanationMatch"}, "explainer": {"class_path": "InputGradient"}}}
    path = experiment(tmp_path, kept(tmp_path, LogisticRegression(max_iter=10_000)), {**SOFT, **match})
    with pytest.raises(StageError, match="the model's output has no gradient"):
        run(read(path), Options(mlruns=tmp_path / "mlruns"))
