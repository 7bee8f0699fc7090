"""The sanity check layer by layer."""

import pytest
import torch
from torch import Tensor, nn

from kdlab.metrics.layer_randomisation import LayerRandomisation, layers_from_top, randomised_curve
from kdlab.metrics.parameter_randomisation import randomised_similarity
from kdlab.models.conv_net import ConvNet
from tests.metrics.cases import Gradient
from tests.metrics.linear import FIRST, Slopes


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(30, 32), nn.Tanh(), nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 2))


class FirstLayer:
    """The inputs weighed by the first layer's first unit: it looks at no other layer."""

    multiplies_by_inputs = True

    def __init__(self, model: nn.Sequential) -> None:
        self.model = model

    def __call__(self, inputs: Tensor, target: Tensor) -> Tensor:
        return inputs * self.model.get_parameter("0.weight")[0]


def test_layers_go_from_the_output_down() -> None:
    assert layers_from_top(net()) == {
        "4": ["4.weight", "4.bias"],
        "2": ["2.weight", "2.bias"],
        "0": ["0.weight", "0.bias"],
    }
    chosen = layers_from_top(ConvNet(3, width=2), ["head", "block2", "block1"])
    assert chosen["block2"] == ["block2.conv.weight", "block2.norm.weight", "block2.norm.bias"]
    assert list(chosen) == ["head", "block2", "block1"]


def test_a_layer_without_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no parameters in layers \['1'\] of Sequential; .* \['0', '2', '4'\]"):
        layers_from_top(net(), ["4", "1"])
    with pytest.raises(ValueError, match="no parameters in layers"):
        layers_from_top(nn.ReLU())
    with pytest.raises(ValueError, match="layers must name one or more"):
        LayerRandomisation(layers=[])


@pytest.mark.parametrize("cascade", [True, False])
def test_an_attribution_changes_where_the_layer_it_looks_at_goes(cascade: bool) -> None:
    model, inputs, target = net(), torch.randn(8, 30), FIRST.expand(8)
    attribute = FirstLayer(model)
    metric = LayerRandomisation(cascade=cascade)
    metric.update(model, inputs, attribute(inputs, target), target, attribute)
    found = metric.compute()
    # The two upper layers are none of its business, so the attribution is the same to the last bit.
    assert [found["01_4"], found["02_2"]] == [1.0, 1.0]
    assert abs(found["03_0"]) < 0.7
    torch.testing.assert_close(found["mean"], (2 + found["03_0"]) / 3)


def test_a_gradient_loses_its_likeness_on_the_way_down() -> None:
    model, inputs, target = net(), torch.randn(64, 30), FIRST.expand(64)
    attribute = Gradient(model)
    metric = LayerRandomisation()
    metric.update(model, inputs, attribute(inputs, target), target, attribute)
    found = metric.compute()
    assert 1 > found["01_4"] > found["03_0"]
    assert abs(found["03_0"]) < 0.3


def test_the_cascade_draws_a_layer_alike_at_every_step() -> None:
    model, inputs, target = net(), torch.randn(4, 30), FIRST.expand(4)
    attribute = Gradient(model)
    attributions = attribute(inputs, target)
    layers = list(layers_from_top(model).values())
    curve = randomised_curve(model, attribute, inputs, attributions, target, layers=layers)
    for depth in range(3):
        names = [name for layer in layers[: depth + 1] for name in layer]
        alone = randomised_similarity(model, attribute, inputs, attributions, target, names=names)
        assert torch.equal(curve[:, depth], alone)


def test_an_explainer_that_ignores_the_model_survives_everything() -> None:
    metric, inputs = LayerRandomisation(), torch.randn(4, 3)
    attribute = Slopes(multiplies_by_inputs=True)
    metric.update(nn.Linear(3, 2), inputs, attribute(inputs, FIRST), FIRST.expand(4), attribute)
    # A model that is one layer is named by its class.
    assert metric.compute() == {"mean": 1.0, "01_Linear": 1.0}


def test_a_fresh_normalisation_has_no_score_of_its_own() -> None:
    model = nn.Sequential(nn.Linear(30, 16), nn.LayerNorm(16), nn.Tanh(), nn.Linear(16, 2))
    inputs, target, attribute = torch.randn(8, 30), FIRST.expand(8), Gradient(model)
    attributions = attribute(inputs, target)
    alone, cascade = LayerRandomisation(cascade=False), LayerRandomisation()
    for metric in (alone, cascade):
        metric.update(model, inputs, attributions, target, attribute)
    found = alone.compute()
    assert found["02_1"].isnan()
    assert found["nan"] == 8
    torch.testing.assert_close(found["mean"], (found["01_3"] + found["03_0"]) / 2)
    # Beneath a layer that lost its weights nothing is new: the curve stays where it was.
    found = cascade.compute()
    assert "nan" not in found
    assert found["02_1"] == found["01_3"] != 1.0


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_what_has_no_spread_was_not_randomised(value: float) -> None:
    model = nn.Linear(3, 2)
    for parameter in model.parameters():
        nn.init.constant_(parameter, value)
    inputs, attribute = torch.randn(4, 3), Slopes(multiplies_by_inputs=True)
    found = randomised_similarity(model, attribute, inputs, attribute(inputs, FIRST), FIRST.expand(4))
    assert found.isnan().all()


def test_scores_that_are_none_are_counted() -> None:
    metric, inputs = LayerRandomisation(), torch.randn(4, 3)
    model = nn.Linear(3, 2)
    attributions = Slopes()(inputs, FIRST).clone()
    attributions[1] = 0.0
    metric.update(model, inputs, attributions, FIRST.expand(4), Gradient(model))
    found = metric.compute()
    assert found["nan"] == 1
    assert found["mean"].isfinite()
