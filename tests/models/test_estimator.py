"""Estimators as networks: their probabilities, their bytes, what they refuse."""

from typing import Any

import pytest
import torch
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor

from kdlab.models.estimator import FLOOR, Estimator

ESTIMATORS: dict[str, Any] = {
    "forest": RandomForestClassifier(n_estimators=5),
    "boosting": GradientBoostingClassifier(n_estimators=3),
    "histogram boosting": HistGradientBoostingClassifier(max_iter=3),
    "logistic": LogisticRegression(),
    "bayes": GaussianNB(),
    "neighbours": KNeighborsClassifier(3),
    "tree": DecisionTreeClassifier(max_depth=3),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
}


def samples(classes: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(60) % classes
    return torch.randn(60, 2, 2, generator=generator) + target[:, None, None], target


@pytest.mark.parametrize("name", ESTIMATORS)
def test_softmax_of_the_logits_is_the_estimators_own_probability(name: str) -> None:
    inputs, target = samples()
    model = Estimator(ESTIMATORS[name], 3)
    model.fit(inputs, target)
    assert model._fitted is not None
    own = torch.as_tensor(model._fitted.predict_proba(inputs.flatten(1).numpy()), dtype=torch.float32)
    torch.testing.assert_close(model(inputs).softmax(1), own, atol=3 * FLOOR, rtol=0)
    assert not hasattr(ESTIMATORS[name], "classes_"), "the estimator that was handed in is not touched"


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_bytes_bring_the_same_predictions_into_a_fresh_model(name: str) -> None:
    inputs, target = samples()
    model, other = Estimator(ESTIMATORS[name], 3), Estimator(ESTIMATORS[name], 3)
    model.fit(inputs, target)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(inputs), model(inputs))
    # Two fits that are equal have equal bytes, and so do not look like two teachers.
    twice = Estimator(ESTIMATORS[name], 3)
    twice._draw = model._draw
    twice.fit(inputs, target)
    assert torch.equal(twice.state, model.state)
    # A second load of other bytes replaces the first.
    changed = Estimator(ESTIMATORS[name], 3)
    changed.fit(inputs, target.flip(0))
    other.load_state_dict(changed.state_dict())
    assert torch.equal(other(inputs), changed(inputs))
    assert not torch.equal(other(inputs), model(inputs))


def test_a_class_without_samples_keeps_its_column() -> None:
    inputs, target = samples(2)
    model = Estimator(DecisionTreeClassifier(), 4)
    model.fit(inputs, torch.where(target == 1, 3, 0))
    probabilities = model(inputs).softmax(1)
    assert probabilities.shape == (60, 4)
    torch.testing.assert_close(probabilities[:, 1:3], torch.full((60, 2), FLOOR), atol=1e-9, rtol=1e-3)
    assert torch.equal(probabilities.argmax(1), torch.where(target == 1, 3, 0))


def test_its_draws_come_from_torch_alone_and_a_stated_one_stays() -> None:
    inputs, target = samples()

    def fitted(seed: int, **arguments: Any) -> Tensor:
        torch.manual_seed(seed)
        model = Estimator(RandomForestClassifier(n_estimators=3, **arguments), 3)
        torch.manual_seed(99)  # the draw was made when it was built
        model.fit(inputs, target)
        return model(inputs)

    assert torch.equal(fitted(0), fitted(0))
    assert not torch.equal(fitted(0), fitted(1))
    assert torch.equal(fitted(0, random_state=7), fitted(1, random_state=7))


def test_an_unfitted_one_says_nothing_and_says_so() -> None:
    model = Estimator(GaussianNB(), 3)
    assert not model.fitted
    assert torch.equal(model(torch.randn(4, 2)), torch.zeros(4, 3))


@pytest.mark.parametrize(
    ("estimator", "classes", "error", "words"),
    [
        (SVC(), 3, TypeError, "SVC cannot teach: an estimator needs fit and predict_proba"),
        (GaussianNB(), 1, ValueError, "classes must be at least 2, got 1"),
        ("forest", 3, TypeError, "str cannot teach"),
    ],
)
def test_what_cannot_teach_is_refused(estimator: Any, classes: int, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Estimator(estimator, classes)


def test_what_the_estimator_refuses_is_said_with_its_name() -> None:
    inputs, _ = samples()
    with pytest.raises(ValueError, match=r"LogisticRegression refuses the training samples: .* class"):
        Estimator(LogisticRegression(), 2).fit(inputs, torch.zeros(60, dtype=torch.int64))


def test_bytes_that_hold_another_package_are_not_read() -> None:
    from skops.io import dumps

    model = Estimator(GaussianNB(), 3)
    content = dumps(Foreign())
    model.load_state_dict({"state": torch.frombuffer(bytearray(content), dtype=torch.uint8)})
    with pytest.raises(
        ValueError, match=r"state of GaussianNB is not read: .* not trusted: \S+test_estimator\.Foreign$"
    ):
        model(torch.randn(2, 2))


class Foreign:
    """Somebody's class inside a file of weights."""

    classes_ = (0, 1, 2)
