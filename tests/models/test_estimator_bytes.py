"""Estimators of several libraries as bytes: the same for equal fits, the same when read, and nothing else is read."""

import importlib
from functools import partial
from typing import Any

import pytest
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skops.io import dumps
from torch import Tensor

from kdlab.data.breast_cancer import BreastCancer
from kdlab.models.estimator import FLOOR, Estimator
from kdlab.models.estimator_bytes import read_back, types_of_its_own, types_to_trust, written

#: Boosting of other libraries, by class path, with arguments that are theirs alone.
BOOSTING: dict[str, dict[str, Any]] = {
    "xgboost.XGBClassifier": {"n_jobs": 1, "n_estimators": 8, "max_depth": 3, "subsample": 0.7},
    "lightgbm.LGBMClassifier": {
        "n_jobs": 1,
        "n_estimators": 8,
        "num_leaves": 7,
        "verbose": -1,
        "subsample": 0.7,
        "subsample_freq": 1,
        "deterministic": True,
        "force_col_wise": True,
    },
}


def boosting(class_path: str, **changes: Any) -> Any:
    """The estimator; the test is skipped where its library is not installed."""
    package, _, name = class_path.partition(".")
    module = pytest.importorskip(package, reason=f"{package} is not installed; pip install 'kdlab[boosting]' brings it")
    return getattr(module, name)(**{**BOOSTING[class_path], **changes})


def patients() -> tuple[Tensor, Tensor]:
    """Real tissue samples: 30 measures each, benign or malignant."""
    train = BreastCancer().arranged(0, None, transfer=False).splits["train"]
    return train["inputs"], train["target"]


def seeded(estimator: Any, classes: int) -> Estimator:
    torch.manual_seed(3)
    return Estimator(estimator, classes)


AROUND = {
    "itself": lambda estimator: estimator,
    "pipeline": lambda estimator: make_pipeline(StandardScaler(), estimator),
    "calibration": partial(CalibratedClassifierCV, cv=2),
    "vote": lambda estimator: VotingClassifier([("boost", estimator), ("line", LogisticRegression())], voting="soft"),
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("class_path", BOOSTING)
def test_boosting_of_other_libraries_is_kept_to_the_bit(class_path: str, around: str) -> None:
    inputs, target = patients()
    estimator = AROUND[around](boosting(class_path, random_state=5))
    model, twice, fresh = seeded(estimator, 2), seeded(estimator, 2), seeded(estimator, 2)
    model.fit(inputs, target)
    torch.rand(1)  # nothing that is drawn meanwhile matters
    twice.fit(inputs, target)
    assert torch.equal(twice.state, model.state), "equal fits have equal bytes"
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(inputs), model(inputs))
    own = AROUND[around](boosting(class_path, random_state=5)).fit(inputs.numpy(), target.numpy())
    expected = torch.as_tensor(own.predict_proba(inputs.numpy()), dtype=torch.float32)
    torch.testing.assert_close(fresh(inputs).softmax(1), expected, atol=3 * FLOOR, rtol=0)
    assert (fresh(inputs).argmax(1) == target).float().mean() > 0.9


@pytest.mark.parametrize("class_path", BOOSTING)
def test_its_draws_come_from_torch_alone(class_path: str) -> None:
    inputs, target = patients()
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        model = Estimator(boosting(class_path), 2)
        model.fit(inputs, target)
        states.append(model(inputs))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize("class_path", BOOSTING)
def test_three_classes_have_three_columns(class_path: str) -> None:
    inputs, target = patients()
    third = torch.where(inputs[:, 0] > 1.5, 2, target)
    model = seeded(boosting(class_path), 3)
    model.fit(inputs, third)
    assert (model(inputs).argmax(1) == third).float().mean() > 0.9


REFUSED = {
    "xgboost.XGBClassifier": ({"max_depth": -3}, "XGBClassifier refuses .* value -3 for Parameter max_depth"),
    # Its own error is no ValueError.
    "lightgbm.LGBMClassifier": ({"num_leaves": 1}, r"LGBMClassifier refuses .* Check failed: \(num_leaves\) > \(1\)"),
}


@pytest.mark.parametrize("class_path", BOOSTING)
def test_what_the_library_refuses_is_one_line(class_path: str, capfd: pytest.CaptureFixture[str]) -> None:
    arguments, message = REFUSED[class_path]
    with pytest.raises(ValueError, match=message) as raised:
        seeded(boosting(class_path, **arguments), 2).fit(*patients())
    assert "\n" not in str(raised.value)


def test_a_class_without_samples_is_refused_by_xgboost_and_not_by_lightgbm() -> None:
    inputs, target = patients()
    gap = torch.where(target == 1, 2, 0)
    with pytest.raises(ValueError, match=r"XGBClassifier refuses .* Expected: \[0 1\], got \[0 2\]$"):
        seeded(boosting("xgboost.XGBClassifier"), 3).fit(inputs, gap)
    model = seeded(boosting("lightgbm.LGBMClassifier"), 3)
    model.fit(inputs, gap)
    torch.testing.assert_close(model(inputs)[:, 1].exp(), torch.full((len(inputs),), FLOOR))


def fitted(estimator: Any) -> Any:
    inputs, target = patients()
    return estimator.fit(inputs.numpy(), target.numpy())


def test_a_function_among_the_parameters_is_the_estimator_s_own_and_another_is_not() -> None:
    estimator = fitted(make_pipeline(SelectKBest(f_classif, k=3), LogisticRegression()))
    content = written(estimator)
    names = types_to_trust(content)
    assert names == ["sklearn.feature_selection._univariate_selection.f_classif"]
    assert types_of_its_own(names, estimator) == names
    assert types_of_its_own(names, make_pipeline(StandardScaler(), LogisticRegression())) == []
    assert read_back(content, names).steps[0][1].score_func is f_classif


def test_a_package_s_types_are_the_classes_that_are_made_in_it() -> None:
    named = ["sklearn.tree._tree.Tree", "sklearn.base.BaseEstimator"]
    others = [
        "os.system",
        "builtins.eval",
        "sklearn.base.os",  # a module that is only imported there
        "sklearn.base.defaultdict",  # likewise a class
        "sklearn.base.clone",  # a function
        "sklearn.nowhere.Thing",
        "sklearnish.Thing",
    ]
    assert types_of_its_own([*named, *others], GaussianNB()) == named


def test_only_trusted_types_are_read() -> None:
    content = dumps(FunctionTransformer(importlib.import_module))
    with pytest.raises(TypeError, match=r"^it holds types that are not trusted: importlib\.import_module$"):
        read_back(content, ["importlib.reload"])
    assert read_back(content, ["importlib.import_module"]).func is importlib.import_module


def test_what_skops_cannot_write_or_read_is_said_in_one_line() -> None:
    with pytest.raises(TypeError, match=r"^FunctionTransformer cannot be kept without pickle: .*generator"):
        written(FunctionTransformer(kw_args={"rows": (row for row in [])}))
    with pytest.raises(ValueError, match="it holds no estimator that skops wrote: File is not a zip file"):
        types_to_trust(b"no archive")
