"""Losses of attributions have right derivatives through the model's own gradient, also through attention."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from kdlab.losses.explanations.attributed_part import NecessaryPart, SufficientPart
from kdlab.losses.explanations.class_activation_transfer import ClassActivationTransfer
from kdlab.losses.explanations.explanation_match import ExplanationMatch
from kdlab.losses.explanations.jacobian_matching import JacobianMatching
from kdlab.losses.explanations.right_reasons import RightReasons

CLASSES = 3


class Attention(nn.Module):
    """Three tokens of width 2, one attention head, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(2, 6)
        self.head = nn.Linear(2, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        queries, keys, values = self.project(inputs).unflatten(-1, (3, 1, 2)).permute(2, 0, 3, 1, 4)
        # The fused kernels have no second derivative: https://github.com/pytorch/pytorch/issues/116350
        with sdpa_kernel(SDPBackend.MATH):
            mixed = nn.functional.scaled_dot_product_attention(queries, keys, values)
        return self.head(mixed[:, 0].mean(1))


def convolutional() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, CLASSES))


def tabular() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, CLASSES))


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convolutional": (convolutional, (1, 3, 3)),
    "tabular": (tabular, (4,)),
    "attention": (Attention, (3, 2)),
}
Explain = Callable[[Tensor, nn.Module, Tensor, Tensor], Tensor]
LOSSES: dict[str, Explain] = {
    "match": lambda a, net, x, t: ExplanationMatch()(a, t),
    "jacobian": lambda a, net, x, t: JacobianMatching()(a, t),
    "jacobian, not normalised": lambda a, net, x, t: JacobianMatching(normalise=False)(a, t),
    "right reasons": lambda a, net, x, t: RightReasons(relative=False)(a, (t > 0).double()),
    "right reasons, relative": lambda a, net, x, t: RightReasons()(a, (t > 0).double()),
    "sufficient": lambda a, net, x, t: SufficientPart(0.5, 1.0)(net, x, logits(x), a, torch.zeros_like(x[0])),
    "necessary": lambda a, net, x, t: NecessaryPart(0.5, 1.0)(net, x, a, classes(x), torch.zeros_like(x[0])),
}


def logits(inputs: Tensor) -> Tensor:
    return torch.linspace(-1, 1, len(inputs) * CLASSES, dtype=inputs.dtype).view(len(inputs), CLASSES)


def classes(inputs: Tensor) -> Tensor:
    return torch.arange(len(inputs)) % CLASSES


class Bound(nn.Module):
    """A network with given weights, called like any other."""

    def __init__(self, network: nn.Module, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.network = network
        self.weights = weights

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = functional_call(self.network, self.weights, (inputs,))
        return output


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("loss", LOSSES)
def test_derivatives_in_the_weights_are_right_up_to_the_second(loss: str, net: str) -> None:
    make, shape = NETS[net]
    network = make().double()
    inputs, teacher = torch.randn(2, *shape).double(), torch.randn(2, *shape).double()
    names = [name for name, _ in network.named_parameters()]

    def value(*weights: Tensor) -> Tensor:
        bound = Bound(network, dict(zip(names, weights, strict=True)))
        leaf = inputs.clone().requires_grad_()
        chosen = bound(leaf).gather(1, classes(inputs)[:, None]).sum()
        (attributions,) = torch.autograd.grad(chosen, leaf, create_graph=True)
        return LOSSES[loss](attributions, bound, inputs, teacher)

    weights = [parameter.detach().clone().requires_grad_() for parameter in network.parameters()]
    assert gradcheck(value, weights, fast_mode=True)
    assert gradgradcheck(value, weights, fast_mode=True)


@pytest.mark.parametrize("normalise", [False, True])
def test_class_activation_maps_have_right_derivatives(normalise: bool) -> None:
    maps, teacher = torch.randn(2, 3, 4, 4).double().requires_grad_(), torch.randn(2, 3, 5, 5).double()
    loss = ClassActivationTransfer(normalise=normalise)
    assert gradcheck(lambda x: loss([x], [teacher]), maps)
    assert gradgradcheck(lambda x: loss([x], [teacher]), maps)
