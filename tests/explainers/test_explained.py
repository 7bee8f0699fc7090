"""Prediction and explanation in one call."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from kdlab.explainers.amortised_shapley import AmortisedShapley
from kdlab.explainers.base import Deploys
from kdlab.explainers.distilled_attribution import DistilledAttribution
from kdlab.explainers.explained import Explained
from kdlab.explainers.input_gradient import InputGradient
from kdlab.explainers.networks import Squares
from kdlab.explainers.neural_surrogate import NeuralSurrogate
from kdlab.explainers.players import Superpixels
from kdlab.explainers.selector import Selector
from kdlab.models.conv_net import ConvNet
from kdlab.stages.costs import costs
from kdlab.testing.explained import dense


def test_values_by_hand() -> None:
    # Logits (2 x1, x2); the network is silent, so each of two players gets half of the change from 0.
    model = nn.Linear(2, 2, bias=False)
    network = nn.Linear(2, 4)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
        for weight in network.parameters():
            weight.zero_()
    both = Explained(model, AmortisedShapley(model, [2], 2, network=network))
    found = both(torch.tensor([[3.0, 4.0], [1.0, 5.0]]))
    assert found.logits.tolist() == [[6.0, 4.0], [2.0, 5.0]]
    assert found.explained.tolist() == [0, 1]
    assert found.attributions.tolist() == [[3.0, 3.0], [2.5, 2.5]]


def test_what_stands_still_is_asked_for_once() -> None:
    model = dense()
    asked: list[int] = []
    model.register_forward_hook(lambda _, inputs, __: asked.append(len(inputs[0])))
    both = Explained(model, AmortisedShapley(model, [6], 3))
    assert asked == [1]  # the baseline
    with torch.no_grad():
        both(torch.randn(4, 6))
        both(torch.randn(5, 6))
    assert asked == [1, 4, 5]


def test_it_stays_in_eval_mode_and_gives_a_sample_alone_what_it_gives_in_a_batch() -> None:
    model = dense().train()
    both = Explained(model, NeuralSurrogate(model, 6, 3)).train()
    assert not any(part.training for part in both.modules())
    inputs = torch.randn(4, 6)
    torch.testing.assert_close(both(inputs[:1]).attributions, both(inputs).attributions[:1])


def test_a_copy_and_its_weights_are_complete() -> None:
    model = dense()
    both = Explained(model, AmortisedShapley(model, [6], 3, average=0.9))
    copy, inputs = deepcopy(both), torch.randn(4, 6)
    found = both(inputs)
    with torch.no_grad():
        for weight in both.parameters():
            weight.zero_()
    torch.testing.assert_close(copy(inputs).attributions, found.attributions)
    both.load_state_dict(copy.state_dict())
    torch.testing.assert_close(both(inputs).attributions, found.attributions)


@pytest.mark.parametrize(
    "make",
    [
        lambda model: AmortisedShapley(
            model, [1, 8, 8], 3, Superpixels(2), network=Squares([1, 8, 8], 3, size=2, hidden=4)
        ),
        lambda model: AmortisedShapley(model, [1, 8, 8], 3, Superpixels(4), hidden=[8], average=0.9),
        lambda model: Selector(model, [1, 8, 8], 3, chosen=2, players=Superpixels(4), hidden=[8]),
        lambda model: DistilledAttribution(model, 64, 3, hidden=[8]),
    ],
)
def test_an_explainer_that_deploys_is_exported_for_batches_of_any_size(make) -> None:  # noqa: ANN001
    model = ConvNet(classes=3, width=2)
    explainer = make(model)
    assert isinstance(explainer, Deploys)
    both = Explained(model, explainer)
    batch = torch.export.Dim("batch", min=2, max=512)
    program = torch.export.export(both, (torch.randn(4, 1, 8, 8),), dynamic_shapes={"inputs": {0: batch}})
    inputs = torch.randn(7, 1, 8, 8)
    torch.testing.assert_close(tuple(program.module()(inputs)), tuple(both(inputs)))


def test_the_cost_of_both_is_logged_beside_the_predictions() -> None:
    model = ConvNet(classes=3, width=2).eval()
    inputs = torch.randn(16, 1, 8, 8)
    found = costs(model, inputs, InputGradient(model), AmortisedShapley(model, [1, 8, 8], 3, Superpixels(4)))
    assert found["explained_ms"] > 0
    assert found["explained_batch_ms"] > 0
    assert found["explanation_ratio"] > -0.5
    without = costs(model, inputs, None, None)
    assert not {"explained_ms", "explained_batch_ms", "explanation_ratio"} & without.keys()


def test_the_ratio_is_the_explanations_own_time_in_forwards(monkeypatch: pytest.MonkeyPatch) -> None:
    class Timed(nn.Module):
        def __init__(self, seconds: float) -> None:
            super().__init__()
            self.seconds = seconds

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            clock[0] += self.seconds
            return inputs

    class Slow(NeuralSurrogate):
        def attribute(self, inputs: torch.Tensor, target: torch.Tensor | None = None) -> torch.Tensor:
            clock[0] += 3.0
            return inputs

    clock = [0.0]
    monkeypatch.setattr("kdlab.stages.costs.perf_counter", lambda: clock[0])
    model = Timed(2.0)
    found = costs(model, torch.randn(4, 3), None, Slow(model, 3, 3))
    # 2 s a prediction and 3 s the explanation of whatever batch.
    assert found["explanation_ratio"] == 1.5
    assert found["explained_ms"] == 5000.0
    assert found["explained_batch_ms"] == 1250.0
