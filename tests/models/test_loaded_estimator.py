"""Estimators of files: what they predict, of which class and column, whom they trust, and what is refused."""

import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from kdlab.data.preparation import Preparation
from kdlab.models.estimator import FLOOR
from kdlab.models.loaded_estimator import LoadedEstimator

CLASSES, FEATURES = ["cat", "dog", "cow"], ["size", "weight", "age"]
#: In their own units: two features of quite other spread than the third.
SPREAD = torch.tensor([10.0, 0.5, 1.0])


def samples() -> tuple[Tensor, Tensor]:
    target = torch.arange(60) % 3
    noise = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    return SPREAD * (0.5 * noise + target[:, None]), target


def fitted(estimator: Any, labels: list[Any] | None = None) -> Any:
    values, target = samples()
    return estimator.fit(values.numpy(), np.array(labels or CLASSES)[target])


def made(path: Path, estimator: Any, **arguments: Any) -> LoadedEstimator:
    if path.suffix == ".skops":
        skops.io.dump(estimator, path)
    elif path.suffix == ".joblib":
        joblib.dump(estimator, path)
    else:
        path.write_bytes(pickle.dumps(estimator))
    return LoadedEstimator(str(path), **{"classes": 3, "class_names": CLASSES, **arguments})


@pytest.mark.parametrize("name", ["own.skops", "own.joblib", "own.pkl", "own.PICKLE"])
def test_it_predicts_what_the_estimator_does_with_the_classes_in_the_data_s_order(tmp_path: Path, name: str) -> None:
    estimator = fitted(GaussianNB())
    assert list(estimator.classes_) == ["cat", "cow", "dog"]
    network = made(tmp_path / name, estimator, trusted=not name.endswith("skops"))
    values, target = samples()
    own = torch.as_tensor(estimator.predict_proba(values.numpy()), dtype=torch.float32)[:, [0, 2, 1]]
    torch.testing.assert_close(network(values).exp(), own.clamp_min(FLOOR))
    assert (network(values).argmax(1) == target).float().mean() > 0.8
    assert not network(values.requires_grad_()).requires_grad
    assert list(network.parameters()) == []


#: What the estimator was told, what the data call their classes, and which column is each class's.
ORDERS: dict[str, tuple[list[Any], list[str] | None, list[int]]] = {
    "the same": (["a", "b", "c"], ["a", "b", "c"], [0, 1, 2]),
    "another order": (["a", "b", "c"], ["c", "a", "b"], [2, 0, 1]),
    "numbers of classes without names": ([0, 1, 2], None, [0, 1, 2]),
    "written as floats": ([0.0, 1.0, 2.0], None, [0, 1, 2]),
    "written as floats of half the size": (list(np.float32([0, 1, 2])), None, [0, 1, 2]),
    "numbers of classes with names": ([0, 1, 2], ["c", "a", "b"], [0, 1, 2]),
    "names that are numbers": ([1, 2, 3], ["3", "1", "2"], [2, 0, 1]),
    "names that are the numbers in another order": ([0, 1, 2], ["2", "0", "1"], [2, 0, 1]),
}


@pytest.mark.parametrize("name", ORDERS)
def test_each_class_has_its_own_column(tmp_path: Path, name: str) -> None:
    labels, class_names, columns = ORDERS[name]
    estimator = fitted(GaussianNB(), labels)
    network = made(tmp_path / "own.skops", estimator, class_names=class_names)
    values, _ = samples()
    own = torch.as_tensor(estimator.predict_proba(values.numpy()), dtype=torch.float32)[:, columns]
    torch.testing.assert_close(network(values).exp(), own.clamp_min(FLOOR))


def test_truth_values_are_called_by_their_words(tmp_path: Path) -> None:
    values, target = samples()
    estimator = GaussianNB().fit(values.numpy(), target.numpy() > 0)
    network = made(tmp_path / "own.skops", estimator, classes=2, class_names=["True", "False"])
    assert torch.equal(network(values).argmax(1) == 0, torch.from_numpy(estimator.predict(values.numpy())))


def test_labels_that_are_said_stand_for_its_own(tmp_path: Path) -> None:
    estimator = fitted(GaussianNB())
    plain = made(tmp_path / "own.skops", estimator)
    other = LoadedEstimator(str(tmp_path / "own.skops"), 3, ["Kuh", "Hund", "Katze"], labels=["Katze", "Kuh", "Hund"])
    values, _ = samples()
    assert torch.equal(other(values), plain(values)[:, [2, 1, 0]])


def test_inputs_are_brought_back_to_the_units_that_it_was_fitted_to(tmp_path: Path) -> None:
    estimator, (values, _) = fitted(make_pipeline(StandardScaler(), LogisticRegression())), samples()
    preparation = Preparation.standardising({"train": {"inputs": values.double()}})
    inputs = preparation(values.double())
    expected = made(tmp_path / "own.skops", estimator)(values)
    network = made(tmp_path / "own.skops", estimator, preparation=preparation)
    torch.testing.assert_close(network(inputs), expected, atol=1e-4, rtol=1e-4)
    as_given = made(tmp_path / "own.skops", estimator, preparation=preparation, own_units=False)
    torch.testing.assert_close(as_given(values), expected)
    assert not torch.allclose(as_given(inputs), expected, atol=0.1)


class Named(GaussianNB):
    """An estimator that was fitted to a table with these columns."""

    def __init__(self, names: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.names = names

    def fit(self, values: Any, target: Any) -> "Named":
        super().fit(values, target)
        self.feature_names_in_ = np.array(self.names, dtype=object)
        return self


def named(*names: str) -> Any:
    return fitted(Named(names))


def test_columns_are_put_in_the_order_of_their_names(tmp_path: Path) -> None:
    estimator, (values, _) = named(*FEATURES), samples()
    plain = made(tmp_path / "own.pkl", estimator, trusted=True)(values)  # who names none is not asked
    same = made(tmp_path / "own.pkl", estimator, trusted=True, feature_names=FEATURES)
    assert torch.equal(same(values), plain)
    other = made(tmp_path / "own.pkl", estimator, trusted=True, feature_names=["age", "size", "weight"])
    assert torch.equal(other(values[:, [2, 0, 1]]), plain)
    unnamed = made(
        tmp_path / "own.pkl", named("Column_0", "Column_1", "Column_2"), trusted=True, feature_names=FEATURES
    )
    assert torch.equal(unnamed(values), plain)


class Runs:
    """What a pickle can do."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("ending", [".pkl", ".joblib"])
def test_a_pickle_runs_nothing_unless_it_is_trusted(tmp_path: Path, ending: str) -> None:
    marker = tmp_path / "ran"
    with pytest.raises(ValueError, match=r"own\.\w+ is a pickle, which runs .*; write trusted: true if you know who"):
        made(tmp_path / f"own{ending}", Runs(marker))
    assert not marker.exists()
    with pytest.raises(ValueError, match="holds a NoneType; an estimator with predict_proba is needed"):
        made(tmp_path / f"own{ending}", Runs(marker), trusted=True)
    assert marker.exists()


def test_types_that_nobody_trusts_are_refused_by_name(tmp_path: Path) -> None:
    forest = fitted(RandomForestClassifier(n_estimators=3))
    tree = r"sklearn\.tree\._tree\.Tree"
    with pytest.raises(
        ValueError, match=rf"types that are not trusted: {tree}; if you .* write trusted_types: \[{tree}\]$"
    ):
        made(tmp_path / "own.skops", forest)
    network = made(tmp_path / "own.skops", forest, trusted_types=["sklearn.tree._tree.Tree"])
    values, target = samples()
    assert (network(values).argmax(1) == target).float().mean() > 0.8
    both = rf"not trusted: \S+\.Runs; .* trusted_types: \[{tree}, \S+\.Runs\]$"
    forest.extra = [Runs]
    with pytest.raises(ValueError, match=both):
        made(tmp_path / "own.skops", forest, trusted_types=["sklearn.tree._tree.Tree"])


class Wide(GaussianNB):
    """Predicts a column more than it has classes."""

    def predict_proba(self, X: Any) -> Any:
        return np.full((len(X), 4), 0.25)


REFUSED: dict[str, tuple[str, Any, dict[str, Any], str]] = {
    "another ending": (
        "own.onnx",
        GaussianNB(),
        {},
        r"is no estimator's file by its ending; there are \.skops",
    ),
    "no classifier": ("own.skops", Ridge(), {}, "holds a Ridge; an estimator with predict_proba is needed"),
    "not fitted": ("own.skops", GaussianNB(), {}, r"a GaussianNB without one list of classes_: it is not fitted"),
    "fewer classes": (
        "own.skops",
        fitted(GaussianNB(), ["cat", "dog", "dog"]),
        {},
        r"knows the classes \['cat', 'dog'\], and the data \['cat', 'dog', 'cow'\]; write labels: ",
    ),
    "other classes": ("own.skops", fitted(GaussianNB(), ["a", "b", "c"]), {}, r"the classes \['a', 'b', 'c'\]"),
    "counted from 1": (
        "own.skops",
        fitted(GaussianNB(), [1, 2, 3]),
        {"class_names": None},
        r"the data \['0', '1', '2'\]",
    ),
    "labels too few": ("own.skops", fitted(GaussianNB()), {"labels": ["cat", "dog"]}, r"classes \['cat', 'dog'\]"),
    "other columns": (
        "own.pkl",
        named("size", "weight", "height"),
        {"trusted": True, "feature_names": FEATURES},
        r"columns that the data do not have, such as \['height'\]; they have \['size', 'weight', 'age'\]",
    ),
    "trust that nobody needs": (
        "own.skops",
        fitted(GaussianNB()),
        {"trusted": True},
        "drop trusted: true",
    ),
    "types of a pickle": (
        "own.pkl",
        fitted(GaussianNB()),
        {"trusted": True, "trusted_types": ["a.B"]},
        "in which no types are checked; drop trusted_types",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    file, estimator, arguments, message = REFUSED[name]
    with pytest.raises(ValueError, match=message) as raised:
        made(tmp_path / file, estimator, **arguments)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("own.skops", b"no archive", "cannot be read: it holds no estimator that skops wrote"),
        ("own.pkl", b"no pickle", "cannot be unpickled here: "),
        ("own.pkl", b"", "cannot be unpickled here: "),
        ("own.joblib", b"cnowhere\nThing\n.", "cannot be unpickled here: No module named 'nowhere'"),
        ("own.pkl", b"cpathlib\nNothing\n.", "cannot be unpickled here: .*Nothing"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        LoadedEstimator(str(tmp_path / name), 3, trusted=name != "own.skops")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file or folder .*own\.skops"):
        LoadedEstimator(str(tmp_path / "own.skops"), 3)


def test_columns_or_features_of_another_number_are_refused_when_it_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"probabilities of shape \(2, 4\) of 2 samples, where 3 columns are needed"):
        made(tmp_path / "own.pkl", fitted(Wide()), trusted=True)(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="X has 5 features, but GaussianNB is expecting 3"):
        made(tmp_path / "own.skops", fitted(GaussianNB()))(torch.zeros(2, 5))


def test_weights_of_another_file_are_refused(tmp_path: Path) -> None:
    network = made(tmp_path / "own.skops", fitted(GaussianNB()))
    again = LoadedEstimator(str(tmp_path / "own.skops"), 3, CLASSES)
    again.load_state_dict(network.state_dict())
    assert network.state_dict()["content"].numpy().tobytes() == (tmp_path / "own.skops").read_bytes()
    other = made(tmp_path / "other.skops", fitted(GaussianNB(var_smoothing=0.1)))
    with pytest.raises(RuntimeError, match=r"other\.skops holds another estimator than the weights were made of"):
        other.load_state_dict(network.state_dict())
    changed = network.state_dict()["content"].clone()
    changed[-1] += 1
    with pytest.raises(RuntimeError, match="holds another estimator"):
        network.load_state_dict({"content": changed})
