"""The contract tests catch what they are for, and a metric that imports nothing of kdlab's passes them."""

import pytest
import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from kdlab.metrics.base import PerSample
from kdlab.testing import metrics as contract

SIGNALS = {"inputs": torch.randn(5, 3), "model": nn.Sequential(nn.Linear(3, 2), nn.Dropout()), "attribute": None}


class Own(Metric):
    """A user's metric: the mean of the inputs."""

    higher_is_better = True
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, inputs: Tensor) -> None:
        self.total = self.total + inputs.detach().sum()
        self.count = self.count + inputs.numel()

    def compute(self) -> Tensor:
        return self.total / self.count


class ByNeighbours(PerSample):
    higher_is_better = True

    def update(self, inputs: Tensor) -> None:
        self.add((inputs / inputs.max()).sum(dim=1))


class TakesTheFirstOfEquals(PerSample):
    higher_is_better = True

    def update(self, attributions: Tensor) -> None:
        self.add(attributions.argmax(dim=1).float())


class WithoutDirection(PerSample):
    def update(self, inputs: Tensor) -> None:
        self.add(inputs.sum(dim=1))


class TakesAnything(Own):
    def update(self, inputs: Tensor, **others: object) -> None:
        super().update(inputs)


class DrawsFromTheGlobalGenerator(Own):
    def update(self, inputs: Tensor) -> None:
        super().update(inputs + torch.rand(()))


class LeavesEvalMode(Own):
    def update(self, inputs: Tensor, model: nn.Module) -> None:  # type: ignore[override]  # asks for more
        model.eval()
        super().update(inputs)


class LeavesGradients(Own):
    def update(self, inputs: Tensor, model: nn.Sequential) -> None:  # type: ignore[override]  # asks for more
        with torch.enable_grad():
            model[0](inputs).sum().backward()
        super().update(inputs)


class ChangesInputs(Own):
    def update(self, inputs: Tensor) -> None:
        inputs.add_(1)
        super().update(inputs)


class AveragesBatches(Own):
    def update(self, inputs: Tensor) -> None:
        self.total = self.total + inputs.mean()
        self.count = self.count + 1


class NeedsGradients(Own):
    def update(self, inputs: Tensor) -> None:
        points = inputs.clone().requires_grad_()
        (slopes,) = torch.autograd.grad(points.square().sum(), points)
        super().update(slopes)


class InventsNumbers(PerSample):
    higher_is_better = True

    def update(self, inputs: Tensor) -> None:
        self.add(inputs.nan_to_num().sum(dim=1))


def test_a_metric_of_a_users_own_keeps_the_contract() -> None:
    contract.check_metric(Own, SIGNALS)


def test_a_metric_of_torchmetrics_keeps_the_contract() -> None:
    def make() -> Metric:
        return MulticlassAccuracy(3, average="micro")

    signals = {"preds": torch.randn(6, 3), "target": torch.arange(6) % 3}
    contract.check_leaves_nothing_behind(make, signals)
    contract.check_works_in_every_grad_mode(make, signals)
    contract.check_batches_add_up(make, signals)
    contract.check_direction_declared(make)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (ByNeighbours, "differ from those in a batch"),
        (WithoutDirection, "declares no higher_is_better"),
        (TakesAnything, r"update takes \['others'\]"),
        (DrawsFromTheGlobalGenerator, "the global random state was moved"),
        (LeavesEvalMode, "training was True, is False"),
        (LeavesGradients, "grad was None"),
        (ChangesInputs, "inputs was changed in place"),
        (AveragesBatches, "the value of one batch is"),
    ],
)
def test_a_broken_promise_is_named(make: type[Metric], message: str) -> None:
    signals = {name: value.clone() if isinstance(value, Tensor) else value for name, value in SIGNALS.items()}
    with pytest.raises(AssertionError, match=message):
        contract.check_metric(make, signals)
    nn.Module.zero_grad(SIGNALS["model"])  # type: ignore[arg-type]  # the dictionary holds anything


def test_a_metric_that_fails_without_gradients_is_found() -> None:
    with pytest.raises(RuntimeError):
        contract.check_works_in_every_grad_mode(NeedsGradients, SIGNALS)


def test_an_invented_number_is_found() -> None:
    with pytest.raises(AssertionError, match="a sample with a NaN in inputs scores"):
        contract.check_counts_nan(InventsNumbers, SIGNALS, "inputs")


def test_a_score_by_where_a_feature_is_stored_is_found() -> None:
    signals = {"attributions": torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 2.0]])}
    with pytest.raises(AssertionError, match="when features are stored in another order"):
        contract.check_order_of_features(TakesTheFirstOfEquals, signals, torch.tensor([1, 0, 2]))


def test_scores_of_samples_need_the_base_class() -> None:
    with pytest.raises(TypeError, match="derive it from"):
        contract.check_same_score_alone(Own, SIGNALS)
