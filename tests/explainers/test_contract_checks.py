"""The checks of kdlab.testing.explainers find what is broken."""

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from kdlab.explainers.deployed import Deployed
from kdlab.explainers.input_gradient import InputGradient
from kdlab.testing.explained import dense
from kdlab.testing.explainers import (
    MadeToFailError,
    check_explainer,
    check_learned,
    check_target_is_checked,
    check_terms,
)
from kdlab.testing.one_call import check_explains_in_one_call


class Broken(InputGradient):
    """Does one thing wrong before it explains."""

    def __init__(self, model: nn.Module, wrong: Callable[["Broken", Tensor], object]) -> None:
        super().__init__(model)
        self.wrong = wrong

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        self.wrong(self, inputs)
        return super().attribute(inputs, target)


def leave_gradients(explainer: Broken, inputs: Tensor) -> None:
    with torch.inference_mode(False), torch.enable_grad():
        first = next(explainer.model.children())
        first(inputs.clone()).sum().backward()


def freeze_one(explainer: Broken, _: Tensor) -> None:
    next(weight for weight in explainer.model.parameters() if weight.requires_grad).requires_grad_(False)


class Detached(InputGradient):
    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        return super().attribute(inputs, target).detach()


class Flat(InputGradient):
    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        return super().attribute(inputs, target).sum(dim=1)


class Mixing(InputGradient):
    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        attributions = super().attribute(inputs, target)
        return attributions / attributions.abs().max()


class Forgiving(InputGradient):
    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        try:
            return super().attribute(inputs, target)
        except (MadeToFailError, ValueError):
            return torch.zeros_like(inputs)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda explainer, _: explainer.model.train(), "modes changed"),
        (lambda explainer, _: explainer.model.eval(), "modes changed"),
        (lambda explainer, _: explainer.model.register_forward_hook(lambda *_: None), "hooks changed"),
        (freeze_one, "requires_grad changed"),
        (leave_gradients, ".grad changed"),
        (lambda _, __: torch.rand(1), "torch's random state changed"),
        (lambda _, __: random.random(), "Python's random state changed"),
        (lambda _, inputs: inputs.add_(1.0), "inputs changed"),
    ],
)
def test_what_is_left_behind_is_found(wrong: Callable[[Broken, Tensor], object], message: str) -> None:
    model = dense()
    with pytest.raises(AssertionError, match=message):
        check_explainer(Broken(model, wrong), model, torch.randn(4, 6), torch.tensor([0, 1, 2, 0]))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Detached, "must be part of the graph"),
        (Flat, "attributions"),
        (Mixing, "not close"),
        (Forgiving, "swallowed"),
    ],
)
def test_what_is_given_wrongly_is_found(kind: type[InputGradient], message: str) -> None:
    model = dense()
    with pytest.raises(AssertionError, match=message):
        check_explainer(kind(model), model, torch.randn(4, 6), torch.tensor([0, 1, 2, 0]))


def test_a_class_that_there_is_not_must_be_refused() -> None:
    with pytest.raises(AssertionError, match="was taken for 3 classes"):
        check_target_is_checked(Forgiving(dense()), torch.randn(2, 6), 3)


class DeploysTwice(InputGradient):
    """Asks the model again in the one call."""

    def deployed(self) -> nn.Module:
        return Deployed(nn.Module(), lambda inputs, logits, explained: self.attribute(inputs, explained))


class DeploysAnother(InputGradient):
    """Says something else in the one call."""

    def deployed(self) -> nn.Module:
        return Deployed(nn.Module(), lambda inputs, logits, explained: torch.zeros_like(inputs))


@pytest.mark.parametrize(("kind", "message"), [(DeploysTwice, "ran 2 times"), (DeploysAnother, "not close")])
def test_a_wrong_explanation_in_one_call_is_found(kind: type[InputGradient], message: str) -> None:
    model = dense()
    with pytest.raises(AssertionError, match=message):
        check_explains_in_one_call(kind(model), model, torch.randn(4, 6))


def test_a_learned_one_that_holds_the_model_is_found() -> None:
    class Holds(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, inputs: Tensor) -> Tensor:
            predicted: Tensor = self.model(inputs).log_softmax(dim=1)
            return predicted

    with pytest.raises(AssertionError, match="weights are in the explainer"):
        check_learned(Holds, dense(), torch.randn(4, 6))


def test_a_term_that_trains_nothing_is_found() -> None:
    explainer = nn.Linear(2, 2)
    with pytest.raises(AssertionError, match="trains nothing"):
        check_terms(explainer, {"idle": 0.0 * explainer(torch.ones(1, 2)).sum()})
