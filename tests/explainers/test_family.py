"""Every explainer keeps the family's promises."""

from collections.abc import Callable
from inspect import signature
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdlab.commands.class_kinds import classes_of_package
from kdlab.explainers.additive_network import AdditiveNetwork
from kdlab.explainers.amortised_shapley import AmortisedShapley
from kdlab.explainers.attention_rollout import AttentionRollout
from kdlab.explainers.base import (
    Attribution,
    Deploys,
    Describes,
    Draws,
    Learned,
    Refits,
    Tells,
    Terms,
    Writes,
)
from kdlab.explainers.captum_adapter import Captum
from kdlab.explainers.class_activation_map import ClassActivationMap
from kdlab.explainers.distilled_attribution import DistilledAttribution
from kdlab.explainers.exact_shapley import ExactShapley
from kdlab.explainers.grad_cam import GradCam
from kdlab.explainers.gradient_x_input import GradientXInput
from kdlab.explainers.input_gradient import InputGradient
from kdlab.explainers.integrated_gradients import IntegratedGradients
from kdlab.explainers.kernel_shap import KernelShap
from kdlab.explainers.neural_surrogate import NeuralSurrogate
from kdlab.explainers.players import Segments, Superpixels
from kdlab.explainers.rule_tree import RuleTree
from kdlab.explainers.selector import Selector
from kdlab.explainers.smooth_grad import SmoothGrad
from kdlab.explainers.soft_decision_tree import SoftDecisionTree
from kdlab.explainers.tree_regularisation import TreeRegularisation
from kdlab.testing.explained import Attention, Recurrent, conv, dense
from kdlab.testing.explainers import check_explainer, check_learned, check_target_is_checked, check_terms
from kdlab.testing.one_call import check_explains_in_one_call
from tests.families import buildable

Make = Callable[[nn.Module], Attribution]
LearnedCase = tuple[Callable[[], nn.Module], Callable[[nn.Module], Learned]]
SHAPES = {dense: (6,), conv: (2, 8, 8), Attention: (5, 8), Recurrent: (5, 8)}


def without_model(build: Callable[..., Any]) -> Callable[[nn.Module], Any]:
    """The build that takes the model to explain as its only argument."""

    def make(model: nn.Module) -> Any:
        return build(model=model)

    make.__name__ = build.__name__
    return make


POST_HOC: list[tuple[Callable[[], nn.Module], Make]] = [
    (dense, InputGradient),
    (conv, InputGradient),
    (Attention, InputGradient),
    (Recurrent, InputGradient),
    (dense, lambda model: GradientXInput(model, baseline=0.5)),
    (Attention, GradientXInput),
    (dense, lambda model: IntegratedGradients(model, steps=8, rows=12)),
    (Recurrent, lambda model: IntegratedGradients(model, steps=3)),
    (dense, lambda model: SmoothGrad(model, draws=5, rows=8)),
    (conv, lambda model: SmoothGrad(model, draws=3)),
    (conv, lambda model: GradCam(model, "4")),
    (conv, lambda model: ClassActivationMap(model, "4", "7")),
    (Attention, lambda model: AttentionRollout(model, ["encoder.layers.0.self_attn", "encoder.layers.1.self_attn"])),
    (dense, lambda model: ExactShapley(model, rows=100)),
    (conv, lambda model: ExactShapley(model, players=Superpixels(4))),
    (dense, lambda model: KernelShap(model, draws=20)),
    (Recurrent, lambda model: KernelShap(model, players=Segments(2), draws=100)),
    (conv, lambda model: KernelShap(model, players=Superpixels(2), draws=64)),
    (dense, lambda model: Captum(model, "captum.attr.Saliency")),
    (dense, lambda model: Captum(model, "IntegratedGradients", arguments={"n_steps": 4})),
    (dense, lambda model: Captum(model, "KernelShap", arguments={"n_samples": 12})),
    (conv, lambda model: Captum(model, "LayerGradCam", layer="4")),
]

LEARNED: list[LearnedCase] = [
    (dense, lambda model: NeuralSurrogate(model, inputs=6, classes=3, hidden=[5])),
    (conv, lambda model: NeuralSurrogate(model, inputs=128, classes=3)),
    (dense, lambda model: SoftDecisionTree(model, inputs=6, classes=3, depth=3)),
    (dense, lambda model: RuleTree(model, inputs=6, classes=3)),
    (conv, lambda model: RuleTree(model, inputs=128, classes=3)),
    (dense, lambda model: TreeRegularisation(model, inputs=6, classes=3)),
    (dense, lambda model: AdditiveNetwork(model, inputs=6, classes=3, hidden=4, pairs=[(0, 2), (1, 2)])),
    (dense, lambda model: AdditiveNetwork(model, inputs=6, classes=3, hidden=4, pairs=[(0, 2)], interactions=2)),
    (Attention, lambda model: AdditiveNetwork(model, inputs=40, classes=3, hidden=4)),
    (dense, lambda model: AmortisedShapley(model, shape=[6], classes=3, hidden=[8])),
    (conv, lambda model: AmortisedShapley(model, shape=[2, 8, 8], classes=3, players=Superpixels(2), average=0.9)),
    (dense, lambda model: Selector(model, shape=[6], classes=3, chosen=2, hidden=[8])),
    (Recurrent, lambda model: Selector(model, shape=[5, 8], classes=3, chosen=2, players=Segments(2))),
    (dense, lambda model: DistilledAttribution(model, inputs=6, classes=3, hidden=[8, 8])),
    (conv, lambda model: DistilledAttribution(model, inputs=128, classes=3)),
]

#: Every other explainer of the package, found by itself on the dense net: a new file needs no entry here.
EXPLAINED = {"model": nn.Identity(), "inputs": 6, "classes": 3, "shape": [6], "chosen": 2, "hidden": [8]}
LISTED = {type(make(model())) for model, make in [*POST_HOC, *LEARNED]}
DISCOVERED = [
    (target, without_model(build))
    for target, build in buildable("explainers", **EXPLAINED).items()
    if target not in LISTED
]
POST_HOC += [(dense, build) for target, build in DISCOVERED if not issubclass(target, Learned)]
LEARNED += [(dense, build) for target, build in DISCOVERED if issubclass(target, Learned)]
CASES: list[tuple[Callable[[], nn.Module], Make]] = [*POST_HOC, *LEARNED]


def inputs_of(model: Callable[[], nn.Module]) -> tuple[Tensor, Tensor]:
    return torch.randn(4, *SHAPES[model]), torch.tensor([0, 1, 2, 1])


@pytest.mark.parametrize(("model", "make"), CASES)
def test_keeps_the_contract(model: Callable[[], nn.Module], make: Make) -> None:
    explained = model()
    inputs, target = inputs_of(model)
    check_explainer(make(explained), explained, inputs, target)


@pytest.mark.parametrize(("model", "make"), CASES)
def test_refuses_a_class_that_there_is_not(model: Callable[[], nn.Module], make: Make) -> None:
    check_target_is_checked(make(model()), inputs_of(model)[0], classes=3)


@pytest.mark.parametrize(("model", "make"), CASES)
def test_explains_in_one_call_with_the_prediction(model: Callable[[], nn.Module], make: Make) -> None:
    explained = model()
    check_explains_in_one_call(make(explained), explained, inputs_of(model)[0])


@pytest.mark.parametrize(("model", "make"), CASES)
def test_takes_inputs_with_a_gradient(model: Callable[[], nn.Module], make: Make) -> None:
    inputs, target = inputs_of(model)
    attributions = make(model()).attribute(inputs.requires_grad_(), target)
    assert attributions.shape == inputs.shape
    assert inputs.grad is None


@pytest.mark.parametrize(("model", "make"), LEARNED)
def test_a_learned_one_keeps_the_model_out_and_survives_saving(
    model: Callable[[], nn.Module], make: Callable[[nn.Module], Learned]
) -> None:
    check_learned(make, model(), inputs_of(model)[0])


class Absent:
    """A teacher that need not be asked, because its attributions are at hand."""

    def attributions(self, inputs: Tensor, target: Tensor, explainer: Callable[[nn.Module], Attribution]) -> Tensor:
        raise AssertionError("asked")


# What each kind has besides a prediction. The term of TreeRegularisation trains the student; it has tests of its own.
PROMISES: dict[type[Learned], set[type]] = {
    NeuralSurrogate: set(),
    SoftDecisionTree: {Terms, Describes, Tells, Writes, Draws},
    RuleTree: {Describes, Tells, Draws, Refits},
    TreeRegularisation: {Terms, Describes, Tells, Draws, Refits},
    AdditiveNetwork: {Terms, Describes, Tells, Draws, Refits},
    AmortisedShapley: {Terms, Describes, Deploys},
    Selector: {Terms, Describes, Deploys},
    DistilledAttribution: {Terms, Deploys},
}


def with_promise(promise: type, but: type[Learned] | None = None) -> list[LearnedCase]:
    """The cases of kinds that promise something."""
    built = [(model, make, make(model())) for model, make in LEARNED]
    return [
        (model, make)
        for model, make, explainer in built
        if isinstance(explainer, promise) and type(explainer) is not but
    ]


@pytest.mark.parametrize(("model", "make"), [case for case in LEARNED if type(case[1](case[0]())) in PROMISES])
def test_a_kind_has_what_the_table_says(model: Callable[[], nn.Module], make: Callable[[nn.Module], Learned]) -> None:
    explainer = make(model())
    promises = (Terms, Describes, Tells, Writes, Draws, Refits, Deploys)
    assert {promise for promise in promises if isinstance(explainer, promise)} == PROMISES[type(explainer)]


def signals_of(explained: nn.Module, inputs: Tensor, target: Tensor) -> dict[str, object]:
    return {
        "inputs": inputs,
        "logits": explained(inputs),
        "baseline": torch.zeros(inputs.shape[1:]),
        "teacher": Absent(),
        "teacher_attributions": torch.randn_like(inputs),
        "explained": target,
    }


@pytest.mark.parametrize(("model", "make"), with_promise(Terms, but=TreeRegularisation))
def test_own_terms_train_it(model: Callable[[], nn.Module], make: Callable[[nn.Module], Any]) -> None:
    explained = model().eval()
    explainer = make(explained)
    signals = signals_of(explained, *inputs_of(model))
    asked = signature(explainer.terms).parameters
    check_terms(explainer, explainer.terms(**{name: signals[name] for name in asked}))
    assert all(weight.grad is None for weight in explained.parameters())


@pytest.mark.parametrize(("model", "make"), with_promise(Describes))
def test_it_describes_itself_in_numbers(model: Callable[[], nn.Module], make: Callable[[nn.Module], Any]) -> None:
    numbers = make(model()).describe()
    assert numbers
    assert all(isinstance(value, float) for value in numbers.values())


@pytest.mark.parametrize(("model", "make"), with_promise(Tells))
def test_it_tells_itself_in_lines(model: Callable[[], nn.Module], make: Callable[[nn.Module], Any]) -> None:
    text = make(model()).text()
    assert text.endswith("\n")
    assert text.strip()


@pytest.mark.parametrize(("model", "make"), with_promise(Draws))
def test_it_draws_itself(model: Callable[[], nn.Module], make: Callable[[nn.Module], Any]) -> None:
    assert make(model()).figure().axes


def runs_in_half_precision(model: nn.Module, inputs: Tensor) -> bool:
    """Whether the plain network runs: oneDNN has bfloat16 recurrent layers for some processors only."""
    try:
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            model(inputs)
    except RuntimeError as error:
        if "could not create a primitive" not in str(error):
            raise
        return False
    return True


@pytest.mark.parametrize(("model", "make"), CASES)
def test_half_precision_gives_finite_attributions(model: Callable[[], nn.Module], make: Make) -> None:
    explained = model()
    inputs, target = inputs_of(model)
    if not runs_in_half_precision(explained, inputs):
        pytest.skip("torch has no bfloat16 kernel of this network for this processor: nothing of it can be explained")
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert bool(make(explained).attribute(inputs, target).isfinite().all())


@pytest.mark.parametrize(("model", "make"), with_promise(Terms, but=TreeRegularisation))
def test_half_precision_trains(model: Callable[[], nn.Module], make: Callable[[nn.Module], Any]) -> None:
    explained = model().eval()
    explainer = make(explained)
    inputs, target = inputs_of(model)
    signals = signals_of(explained, inputs, target)
    with torch.autocast("cpu", torch.bfloat16):
        asked = signature(explainer.terms).parameters
        check_terms(explainer, explainer.terms(**{name: signals[name] for name in asked}))


def test_every_explainer_of_the_package_is_among_the_cases() -> None:
    tried = {type(make(model())) for model, make in CASES}
    classes = dict(classes_of_package("explainers"))
    assert len(classes) > 15
    assert {name for name, target in classes.items() if target not in tried} == set()
