"""Slopes and integrated slopes, against captum and by hand."""

import captum.attr
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from kdlab.explainers.base import Attribution
from kdlab.explainers.gradient_x_input import GradientXInput
from kdlab.explainers.input_gradient import InputGradient
from kdlab.explainers.integrated_gradients import IntegratedGradients
from kdlab.explainers.smooth_grad import SmoothGrad
from kdlab.testing.explained import Attention, dense


class Square(nn.Module):
    """Logits (x1^2 + x2, 0): slopes (2 x1, 1) and (0, 0)."""

    def forward(self, inputs: Tensor) -> Tensor:
        first = inputs[:, 0] ** 2 + inputs[:, 1]
        return torch.stack([first, torch.zeros_like(first)], dim=1)


POINT = torch.tensor([[3.0, 2.0]])
FIRST = torch.tensor([0])


@pytest.mark.parametrize(
    ("explainer", "by_hand"),
    [
        (InputGradient(Square()), [[6.0, 1.0]]),
        # Slopes times the way from the baseline (1, 1): 6 * 2 and 1 * 1.
        (GradientXInput(Square(), baseline=1.0), [[12.0, 1.0]]),
        # The square grows from 1 to 9, the second input from 1 to 2.
        (IntegratedGradients(Square(), baseline=[1.0, 1.0], steps=3), [[8.0, 1.0]]),
        # The noise moves the first slope by 2 * noise * mean of the draws, the second not at all.
        (SmoothGrad(Square(), noise=0.0), [[6.0, 1.0]]),
    ],
)
def test_value_by_hand(explainer: Attribution, by_hand: list[list[float]]) -> None:
    torch.testing.assert_close(explainer.attribute(POINT, FIRST).detach(), torch.tensor(by_hand))
    # The model's own class is the first; the second class's logit does not move.
    torch.testing.assert_close(explainer.attribute(POINT), explainer.attribute(POINT, FIRST))
    assert not explainer.attribute(POINT, 1 - FIRST).any()


def test_equal_captum() -> None:
    model = dense().eval()
    inputs, target = torch.randn(5, 6), torch.tensor([0, 1, 2, 2, 1])
    watched = inputs.clone().requires_grad_()
    slopes = captum.attr.Saliency(model).attribute(watched, target, abs=False)
    torch.testing.assert_close(InputGradient(model).attribute(inputs, target), slopes)
    torch.testing.assert_close(GradientXInput(model).attribute(inputs, target), slopes * inputs)
    integrated = captum.attr.IntegratedGradients(model).attribute(watched, 0.3, target, n_steps=20)
    ours = IntegratedGradients(model, baseline=0.3, steps=20, rows=15).attribute(inputs, target)
    torch.testing.assert_close(ours, integrated.detach().float(), rtol=1e-4, atol=1e-6)


def test_smooth_grad_is_the_mean_slope_of_noisy_copies() -> None:
    model, inputs, target = dense().eval(), torch.randn(2, 6), torch.tensor([0, 2])
    noise = 0.3 * torch.randn(4, 6, generator=torch.Generator().manual_seed(7))
    wanted = torch.stack([InputGradient(model).attribute(inputs + draw, target) for draw in noise]).mean(dim=0)
    torch.testing.assert_close(SmoothGrad(model, noise=0.3, draws=4, seed=7).attribute(inputs, target), wanted)


def test_integrated_gradients_are_complete() -> None:
    model = Attention().eval()
    inputs, target = torch.randn(3, 5, 8), torch.tensor([0, 1, 2])
    # Not zero, where layer normalisation jumps.
    baseline = torch.randn(5, 8)
    with torch.no_grad():
        total = IntegratedGradients(model, baseline, steps=64).attribute(inputs, target).flatten(1).sum(dim=1)
        change = (model(inputs) - model(baseline[None])).gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(total, change, rtol=0.03, atol=0.01)


@pytest.mark.parametrize("cls", [InputGradient, GradientXInput, SmoothGrad, IntegratedGradients])
def test_second_derivatives_are_right(cls: type[InputGradient]) -> None:
    model = dense().eval().double()
    explainer = cls(model)
    inputs, target = torch.randn(2, 6, dtype=torch.float64, requires_grad=True), torch.tensor([0, 2])
    assert gradcheck(lambda x: explainer.attribute(x, target), inputs)
    assert gradgradcheck(lambda x: explainer.attribute(x, target), inputs)
    weight = next(model.parameters())
    assert gradcheck(lambda _: explainer.attribute(inputs.detach(), target), weight)


def test_second_derivatives_go_through_attention() -> None:
    model = Attention().eval().double()
    inputs = torch.randn(1, 5, 8, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: InputGradient(model).attribute(x, torch.tensor([1])), inputs)


@pytest.mark.parametrize("activation", [nn.ReLU(inplace=True), nn.ReLU()])
def test_an_in_place_activation_changes_neither_result_nor_inputs(activation: nn.Module) -> None:
    linear = nn.Linear(4, 2)
    inputs, target = torch.randn(3, 4), torch.tensor([0, 1, 0])
    before = inputs.clone()
    # The activation comes first, where it works on the inputs themselves.
    slopes = InputGradient(nn.Sequential(activation, linear)).attribute(inputs, target)
    torch.testing.assert_close(slopes, linear.weight[target] * (inputs > 0))
    assert torch.equal(inputs, before)


def test_a_model_without_gradient_is_refused_with_the_reason() -> None:
    class Cut(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.detach()

    with pytest.raises(TypeError, match="under no_grad or detach"):
        InputGradient(Cut()).attribute(torch.ones(1, 2))


def test_token_numbers_and_odd_logits_are_refused() -> None:
    with pytest.raises(TypeError, match=r"torch\.int64 have no gradient"):
        InputGradient(dense()).attribute(torch.ones(2, 6).long())
    with pytest.raises(ValueError, match=r"logits must be \(batch, classes\)"):
        InputGradient(nn.Flatten(0)).attribute(torch.ones(2, 6))


@pytest.mark.parametrize("baseline", [[1.0, 2.0, 3.0, 4.0], torch.ones(2, 3)])
def test_a_baseline_of_another_shape_is_refused(baseline: Tensor) -> None:
    with pytest.raises(ValueError, match="does not fit inputs"):
        IntegratedGradients(dense(), baseline=baseline).attribute(torch.ones(2, 6))


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="steps and rows"):
        IntegratedGradients(dense(), steps=0)
    with pytest.raises(ValueError, match="need noise"):
        SmoothGrad(dense(), noise=-1.0)


@pytest.mark.parametrize("cls", [InputGradient, GradientXInput, SmoothGrad, IntegratedGradients])
def test_an_empty_batch_gives_an_empty_result(cls: type[InputGradient]) -> None:
    assert cls(dense()).attribute(torch.empty(0, 6)).shape == (0, 6)
