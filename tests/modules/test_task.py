"""Any loss of logits and class numbers can be the task, with class weights too."""

import pytest
import torch
from torch import Tensor, nn

from kdlab.losses.logits.cross_entropy import CrossEntropy
from kdlab.modules.distilled import Distilled
from kdlab.modules.supervised import Supervised
from kdlab.signals.vocabulary import Signals
from tests.modules.fitting import batch, fit, student, teacher

WEIGHTS = [1.0, 3.0, 0.5]
LOGITS, TARGET = torch.randn(6, 3), torch.tensor([0, -1, 2, 1, -1, 1])


def value(task: nn.Module, target: Tensor = TARGET, logits: Tensor = LOGITS) -> Tensor:
    module = Supervised(student(), task)
    return module.terms(Signals({"logits": logits, "target": target}), 0)["task"][1]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_weights_leave_out_the_unlabelled(smoothing: float) -> None:
    known = TARGET >= 0
    wanted = nn.functional.cross_entropy(LOGITS[known], TARGET[known], torch.tensor(WEIGHTS), label_smoothing=smoothing)
    torchs = nn.CrossEntropyLoss(weight=torch.tensor(WEIGHTS), label_smoothing=smoothing)
    torch.testing.assert_close(value(torchs), wanted)
    torch.testing.assert_close(value(CrossEntropy(smoothing, WEIGHTS)), wanted)


def test_the_weighted_mean_by_hand() -> None:
    # Two classes, equal logits: ln 2 each, whatever the weights; then one sample is sure of the wrong class by ln 3
    even = torch.zeros(2, 2)
    torch.testing.assert_close(
        value(CrossEntropy(class_weights=[1.0, 3.0]), torch.tensor([0, 1]), even), torch.tensor(2.0).log()
    )
    sure = torch.tensor([[0.0, 0.0], [3.0, 1.0]]).clamp(min=1).log()
    # losses ln 2 and ln 4, weights 1 and 3: (ln 2 + 3 * 2 ln 2) / 4 = 7/4 ln 2
    found = value(CrossEntropy(class_weights=[1.0, 3.0]), torch.tensor([0, 1]), sure)
    torch.testing.assert_close(found, 7 / 4 * torch.tensor(2.0).log())


@pytest.mark.parametrize(
    "task", [nn.CrossEntropyLoss(weight=torch.tensor(WEIGHTS)), CrossEntropy(class_weights=WEIGHTS)]
)
def test_a_batch_without_labels_gives_a_zero_in_the_graph(task: nn.Module) -> None:
    logits = LOGITS.clone().requires_grad_()
    found = value(task, torch.full((6,), -1), logits)
    found.backward()
    assert float(found.detach()) == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros(6, 3))


def test_a_student_with_few_labels_learns_with_class_weights() -> None:
    module = Distilled(student(), teacher(), task=nn.CrossEntropyLoss(weight=torch.tensor(WEIGHTS)))
    module.prepare(batch())
    logged = fit(module, labelled=12).callback_metrics
    assert float(logged["train/task"]) > 0


@pytest.mark.parametrize("weights", [[-1.0, 1.0], [0.0, 0.0], []])
def test_impossible_class_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="class_weights must not be negative, and not all zero"):
        CrossEntropy(class_weights=weights)


def test_as_many_class_weights_as_classes() -> None:
    with pytest.raises(ValueError, match="2 class_weights for 3 classes"):
        value(CrossEntropy(class_weights=[1.0, 2.0]))
