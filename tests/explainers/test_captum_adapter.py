"""captum's methods under kdlab's contract."""

from typing import Any

import captum.attr
import pytest
import torch
from torch import Tensor, nn

from kdlab.explainers.captum_adapter import Captum
from kdlab.testing.explained import conv, dense

INPUTS, TARGET = torch.randn(3, 6), torch.tensor([0, 1, 2])
IMAGES = torch.randn(2, 2, 8, 8)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("captum.attr.Saliency", {}),
        ("Saliency", {"abs": False}),
        (captum.attr.InputXGradient, {}),
        ("IntegratedGradients", {"baselines": 0.5, "n_steps": 8}),
        ("IntegratedGradients", {"baselines": [[0.0, 1.0, 0.0, 1.0, 0.0, 1.0]], "multiply_by_inputs": False}),
        ("DeepLift", {}),
        ("GuidedBackprop", {}),
        ("FeatureAblation", {"feature_mask": [[0, 0, 1, 1, 2, 2]]}),
        ("ShapleyValueSampling", {"n_samples": 3}),
        ("GradientShap", {"baselines": [[0.0] * 6, [1.0] * 6], "n_samples": 4}),
        ("Lime", {"n_samples": 20}),
        ("Occlusion", {"sliding_window_shapes": [2]}),
    ],
)
def test_every_kind_of_input_method_works(method: str | type, arguments: dict[str, Any]) -> None:
    explainer = Captum(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), method, arguments=arguments)
    attributions = explainer.attribute(INPUTS, TARGET)
    assert attributions.shape == INPUTS.shape
    assert not attributions.requires_grad
    assert torch.equal(explainer.attribute(INPUTS, TARGET), attributions)


@pytest.mark.parametrize(
    ("method", "layer", "arguments"),
    [
        ("LayerGradCam", "4", {}),
        ("LayerActivation", "0", {}),
        ("LayerConductance", "3", {"n_steps": 4}),
        ("GuidedGradCam", "4", {}),
        ("NeuronGradient", "4", {"neuron_selector": [0, 1, 1]}),
        ("NeuronIntegratedGradients", "7", {"neuron_selector": 1, "n_steps": 4}),
    ],
)
def test_layer_and_neuron_methods_are_laid_over_the_inputs(method: str, layer: str, arguments: dict[str, Any]) -> None:
    model = nn.Sequential(*[nn.ReLU() if isinstance(part, nn.Softplus) else part for part in conv()])
    assert Captum(model, method, layer, arguments).attribute(IMAGES).shape == IMAGES.shape


def test_equals_captum_called_by_hand() -> None:
    model = dense().eval()
    wanted = captum.attr.IntegratedGradients(model).attribute(INPUTS.clone().requires_grad_(), 0.5, TARGET, n_steps=8)
    explainer = Captum(model, "IntegratedGradients", arguments={"baselines": 0.5, "n_steps": 8})
    torch.testing.assert_close(explainer.attribute(INPUTS, TARGET), wanted.detach())


def test_the_noise_tunnel_wraps_any_method() -> None:
    explainer = Captum(dense(), "Saliency", arguments={"abs": False}, noise={"nt_samples": 4, "stdevs": 0.1})
    attributions = explainer.attribute(INPUTS, TARGET)
    assert torch.equal(explainer.attribute(INPUTS, TARGET), attributions)
    assert not torch.equal(Captum(dense(), "Saliency").attribute(INPUTS, TARGET), attributions)


def test_tells_contributions_from_slopes() -> None:
    assert not Captum(dense(), "Saliency").multiplies_by_inputs
    assert Captum(dense(), "IntegratedGradients").multiplies_by_inputs
    assert not Captum(dense(), "IntegratedGradients", arguments={"multiply_by_inputs": False}).multiplies_by_inputs
    assert not Captum(dense(), "Saliency").differentiable


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "captum.attr.IntegratedGradient"}, ValueError, "nearest are .*IntegratedGradients"),
        ({"method": "captum.nowhere.Saliency"}, ValueError, "no module 'captum.nowhere'"),
        ({"method": "torch.nn.Linear"}, TypeError, "no captum method"),
        ({"method": "NoiseTunnel"}, TypeError, "wraps a method"),
        ({"method": "LayerGradCam"}, ValueError, "LayerGradCam needs layer; Sequential has"),
        ({"method": "Saliency", "layer": "0"}, ValueError, "takes no layer '0'"),
        ({"method": "LayerGradCam", "layer": "9"}, KeyError, "no layer '9'"),
        ({"method": "Saliency", "arguments": {"steps": 3}}, ValueError, "takes no argument 'steps'; it takes .*abs"),
        ({"method": "DeepLift", "arguments": {"return_convergence_delta": True}}, ValueError, "takes no argument"),
        ({"method": "Saliency", "noise": {"samples": 3}}, ValueError, "NoiseTunnel takes no argument"),
    ],
)
def test_what_cannot_work_is_refused_at_once(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Captum(dense(), **arguments)


class Functional(nn.Module):
    """Its activations are functions, which hooks do not see."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 20), nn.Linear(20, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.last(torch.relu(self.first(inputs)))
        return logits


def test_methods_that_functional_activations_escape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"does not add up on Functional .* choose IntegratedGradients"):
        Captum(Functional(), "DeepLift", arguments={"baselines": 2.0}).attribute(INPUTS, TARGET)
    with pytest.raises(ValueError, match=r"changes nn\.ReLU modules, and Functional has none"):
        Captum(Functional(), "GuidedBackprop")


@pytest.mark.parametrize("in_place", [True, False])
def test_deep_lift_adds_up_where_activations_are_modules(in_place: bool) -> None:
    model = nn.Sequential(nn.Linear(6, 20), nn.ReLU(inplace=in_place), nn.Linear(20, 3))
    attributions = Captum(model, "DeepLift", arguments={"baselines": 2.0}).attribute(INPUTS, TARGET)
    with torch.no_grad():
        change = (model(INPUTS) - model(torch.full((1, 6), 2.0))).gather(1, TARGET[:, None])[:, 0]
    torch.testing.assert_close(attributions.sum(dim=1), change, rtol=1e-4, atol=1e-4)


def test_a_layer_without_positions_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be laid over"):
        Captum(dense(), "LayerActivation", "0").attribute(INPUTS)


class WithModules(nn.Module):
    """All that the pickiest methods ask for: every activation a module, and used once."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.relu1 = nn.Conv2d(2, 4, 3, padding=1), nn.ReLU()
        self.second, self.relu2 = nn.Conv2d(4, 5, 3, padding=1), nn.ReLU()
        self.average, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(5, 3)
        with torch.no_grad():
            self.head.weight.mul_(20)  # so large that the penalty of Lime's regression leaves something

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.relu2(self.second(self.relu1(self.first(inputs))))
        logits: Tensor = self.head(self.average(hidden).flatten(1))
        return logits


NOISE = {"nt_samples": 3, "stdevs": 0.3}
BASELINES = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0)).tolist()
HALVES = [[[[0] * 4, [0] * 4, [1] * 4, [1] * 4]] * 2]
NEURON = {"neuron_selector": [1, 2, 2]}
# What each method of captum's is called with; a row a class.
METHODS: dict[str, dict[str, Any]] = {
    "Deconvolution": {},
    "DeepLift": {},
    "DeepLiftShap": {"arguments": {"baselines": BASELINES}},
    "FeatureAblation": {"arguments": {"feature_mask": HALVES}},
    "GradientShap": {"arguments": {"baselines": BASELINES, "n_samples": 3, "stdevs": 0.2}},
    "GuidedBackprop": {},
    "GuidedGradCam": {"layer": "second"},
    "InputXGradient": {},
    "IntegratedGradients": {"arguments": {"n_steps": 4}},
    "InternalInfluence": {"layer": "second", "arguments": {"n_steps": 4}},
    "KernelShap": {"arguments": {"feature_mask": HALVES, "n_samples": 12}},
    "LRP": {},
    "LayerActivation": {"layer": "second"},
    "LayerConductance": {"layer": "second", "arguments": {"n_steps": 4}},
    "LayerDeepLift": {"layer": "second"},
    "LayerDeepLiftShap": {"layer": "second", "arguments": {"baselines": BASELINES}},
    "LayerFeatureAblation": {"layer": "second"},
    "LayerGradCam": {"layer": "second"},
    "LayerGradientShap": {"layer": "second", "arguments": {"baselines": BASELINES, "n_samples": 3, "stdevs": 0.2}},
    "LayerGradientXActivation": {"layer": "second"},
    "LayerIntegratedGradients": {"layer": "second", "arguments": {"n_steps": 4}},
    "LayerLRP": {"layer": "second"},
    "Lime": {"arguments": {"feature_mask": HALVES, "n_samples": 12}},
    "NeuronConductance": {"layer": "second", "arguments": {**NEURON, "n_steps": 4}},
    "NeuronDeconvolution": {"layer": "second", "arguments": NEURON},
    "NeuronDeepLift": {"layer": "second", "arguments": NEURON},
    "NeuronDeepLiftShap": {"layer": "second", "arguments": {**NEURON, "baselines": BASELINES}},
    "NeuronFeatureAblation": {"layer": "second", "arguments": NEURON},
    "NeuronGradient": {"layer": "second", "arguments": NEURON},
    "NeuronGradientShap": {
        "layer": "second",
        "arguments": {**NEURON, "baselines": BASELINES, "n_samples": 3, "stdevs": 0.2},
    },
    "NeuronGuidedBackprop": {"layer": "second", "arguments": NEURON},
    "NeuronIntegratedGradients": {"layer": "second", "arguments": {**NEURON, "n_steps": 4}},
    "Occlusion": {"arguments": {"sliding_window_shapes": [1, 2, 2]}},
    "Saliency": {},
    "ShapleyValueSampling": {"arguments": {"feature_mask": HALVES, "n_samples": 3}},
    "ShapleyValues": {"arguments": {"feature_mask": HALVES}},
}
NO_METHODS = {
    "Attribution": "explains no inputs by itself",
    "DataLoaderAttribution": "explains no inputs by itself",
    "FeaturePermutation": "is 0 for a sample alone; choose FeatureAblation",
    "GradientAttribution": "explains no inputs by itself",
    "LLMAttribution": "explains no inputs by itself",
    "LLMGradientAttribution": "explains no inputs by itself",
    "LayerAttribution": "explains no inputs by itself",
    "LayerFeaturePermutation": "is 0 for a sample alone; choose LayerFeatureAblation",
    "LimeBase": "LimeBase",
    "NeuronAttribution": "explains no inputs by itself",
    "NoiseTunnel": "wraps a method",
    "PerturbationAttribution": "explains no inputs by itself",
    "RemoteLLMAttribution": "explains no inputs by itself",
}


def test_every_class_of_captums_is_tried_or_refused() -> None:
    kinds = {name for name, kind in vars(captum.attr).items() if isinstance(kind, type)}
    methods = {name for name in kinds if issubclass(vars(captum.attr)[name], captum.attr.Attribution)}
    # One that stands in neither table is new: say in which it belongs.
    assert methods == METHODS.keys() | NO_METHODS.keys()
    assert not METHODS.keys() & NO_METHODS.keys()


@pytest.mark.parametrize("name", NO_METHODS)
def test_what_explains_no_single_sample_is_refused_with_the_remedy(name: str) -> None:
    with pytest.raises((TypeError, ValueError), match=NO_METHODS[name]) as raised:
        Captum(WithModules(), name)
    assert "\n" not in str(raised.value)


CALLS = [(name, {}) for name in METHODS] + [
    (name, {"noise": {**NOISE, "nt_type": kind}})
    for name in ("Saliency", "IntegratedGradients", "DeepLift", "LayerGradCam", "NeuronGradient", "FeatureAblation")
    for kind in ("smoothgrad", "smoothgrad_sq", "vargrad")
]


@pytest.mark.parametrize(("name", "further"), CALLS)
# captum says so of every method that puts hooks on activations.
@pytest.mark.filterwarnings("ignore:Setting (forward|backward)")
def test_a_sample_has_the_same_attribution_alone_and_in_any_batch(name: str, further: dict[str, Any]) -> None:
    model = WithModules().eval()
    explainer = Captum(model, name, **METHODS[name], **further)
    inputs, target = torch.randn(5, 2, 4, 4), torch.tensor([0, 1, 2, 1, 0])
    together = explainer.attribute(inputs, target)
    assert bool(together.any())
    assert together.shape == inputs.shape
    scale = float(together.abs().max())
    order = torch.tensor([3, 0, 4, 2, 1])
    turned = explainer.attribute(inputs[order], target[order])
    torch.testing.assert_close(turned, together[order], rtol=1e-4, atol=1e-5 * scale)
    alone = [explainer.attribute(inputs[row : row + 1], target[row : row + 1]) for row in range(5)]
    torch.testing.assert_close(torch.cat(alone), together, rtol=1e-4, atol=1e-5 * scale)
