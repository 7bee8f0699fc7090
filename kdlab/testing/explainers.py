"""What every explainer promises, as checks that a user's own explainer can run.

Each check takes the explainer, the model it explains, and a batch of inputs; it returns nothing and raises
``AssertionError`` with what was broken.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from kdlab.explainers.base import Attribution

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def check_explainer(explainer: Attribution, model: nn.Module, inputs: Tensor, target: Tensor) -> None:
    """Run all checks that hold for any explainer, and the gradient's where it claims one."""
    check_declares(explainer)
    check_shape(explainer, inputs, target)
    check_leaves_nothing_behind(explainer, model, inputs, target)
    check_restores_after_error(explainer, model, inputs)
    check_follows_grad_mode(explainer, inputs, target)
    check_works_under_inference_mode(explainer, inputs, target)
    check_sees_each_sample_alone(explainer, inputs, target)
    if explainer.differentiable:
        trained = explainer if isinstance(explainer, nn.Module) else model
        check_gradient_reaches_weights(explainer, trained, inputs, target)


def check_declares(explainer: Attribution) -> None:
    """Check the contract's two claims and its method."""
    _require(
        isinstance(explainer, Attribution), f"{type(explainer).__name__} lacks attribute() or one of its two claims"
    )
    _require(isinstance(explainer.multiplies_by_inputs, bool), "multiplies_by_inputs is no bool")
    _require(isinstance(explainer.differentiable, bool), "differentiable is no bool")


def check_shape(explainer: Attribution, inputs: Tensor, target: Tensor) -> None:
    """Check that attributions have the inputs' shape and are finite, also for one sample alone."""
    for batch, classes in [(inputs, target), (inputs, None), (inputs[:1], target[:1])]:
        with torch.no_grad():
            attributions = explainer.attribute(batch, classes)
        _require(attributions.shape == batch.shape, f"attributions {tuple(attributions.shape)} of {tuple(batch.shape)}")
        _require(bool(attributions.isfinite().all()), "attributions are not finite")


def check_leaves_nothing_behind(explainer: Attribution, model: nn.Module, inputs: Tensor, target: Tensor) -> None:
    """Check hooks, modes, requires_grad, .grad, weights, inputs and random states, in train and in eval mode."""
    for training in (True, False):
        for mode in (torch.enable_grad, torch.no_grad):
            with _mode_of_each(model, training), _unchanged(explainer, model, inputs), mode():
                explainer.attribute(inputs, target)
                explainer.attribute(inputs)


def check_restores_after_error(explainer: Attribution, model: nn.Module, inputs: Tensor) -> None:
    """Check the same when a part of the model raises in the middle of its forward."""
    reached = _parts_that_run(model, inputs)
    for part in (reached[0], reached[-1]):
        with _mode_of_each(model, True), _unchanged(explainer, model, inputs), _failing(part):
            try:
                explainer.attribute(inputs)
            except MadeToFailError:
                continue
            raise AssertionError("an error of the model was swallowed")


def check_follows_grad_mode(explainer: Attribution, inputs: Tensor, target: Tensor) -> None:
    """Check that attributions are part of the graph under grad only, and only if they claim to be differentiable."""
    attributions = explainer.attribute(inputs, target)
    relation = "part of" if explainer.differentiable else "outside"
    in_graph = attributions.requires_grad
    _require(in_graph == explainer.differentiable, f"under grad, attributions must be {relation} the graph")
    with torch.no_grad():
        plain = explainer.attribute(inputs, target)
    _require(not plain.requires_grad, "attributions under no_grad are part of a graph")
    assert_close(attributions.detach(), plain, msg=lambda text: f"values differ between grad modes: {text}")


def check_works_under_inference_mode(explainer: Attribution, inputs: Tensor, target: Tensor) -> None:
    """Check that values are the same under inference mode, for inputs made in it too."""
    with torch.no_grad():
        expected = explainer.attribute(inputs, target)
    with torch.inference_mode():
        for batch, classes in [(inputs, target), (inputs.clone(), target.clone())]:
            assert_close(explainer.attribute(batch, classes), expected)
        _require(torch.is_inference_mode_enabled(), "inference mode was left")


def check_sees_each_sample_alone(
    explainer: Attribution, inputs: Tensor, target: Tensor, tolerance: float = 1e-4
) -> None:
    """Check that a sample's attribution is the same alone and in a batch."""
    with torch.no_grad():
        together = explainer.attribute(inputs, target)
        alone = torch.cat(
            [explainer.attribute(inputs[row : row + 1], target[row : row + 1]) for row in range(len(inputs))]
        )
    scale = float(together.abs().max())
    assert_close(alone, together, rtol=tolerance, atol=tolerance * max(scale, 1e-12))


def check_gradient_reaches_weights(explainer: Attribution, trained: nn.Module, inputs: Tensor, target: Tensor) -> None:
    """Check that a loss of the attributions has a gradient, not zero everywhere, by the weights trained."""
    attributions = explainer.attribute(inputs, target)
    weights = [weight for weight in trained.parameters() if weight.requires_grad]
    slopes = torch.autograd.grad(attributions.square().sum(), weights, allow_unused=True)
    _require(any(slope is not None and bool(slope.any()) for slope in slopes), "no weight has a gradient")
    _require(all(slope is None or bool(slope.isfinite().all()) for slope in slopes), "a gradient is not finite")


def check_target_is_checked(explainer: Attribution, inputs: Tensor, classes: int) -> None:
    """Check that a class that there is not, and a target of another length, are refused with ``ValueError``."""
    wrong = [torch.full((len(inputs),), classes), torch.full((len(inputs),), -1), torch.zeros(len(inputs) + 1).long()]
    for target in wrong:
        try:
            explainer.attribute(inputs, target)
        except ValueError:
            continue
        raise AssertionError(f"target {target.tolist()} was taken for {classes} classes and {len(inputs)} inputs")


def check_learned(make: Callable[[nn.Module], nn.Module], model: nn.Module, inputs: Tensor) -> None:
    """Check that a learned explainer keeps the model out of itself, predicts distributions, and survives saving."""
    explainer = make(model).eval()
    explained = {id(weight) for weight in model.parameters()}
    _require(
        not any(id(weight) in explained for weight in explainer.parameters()),
        "the model's weights are in the explainer",
    )
    with torch.no_grad():
        predicted, logits = explainer(inputs), model.eval()(inputs)
        _require(predicted.shape == logits.shape, f"prediction {tuple(predicted.shape)}, logits {tuple(logits.shape)}")
        assert_close(predicted.exp().sum(dim=1), torch.ones(len(inputs)))
        restored = make(model).eval()
        restored.load_state_dict(explainer.state_dict())
        assert_close(restored(inputs), predicted, rtol=0, atol=0)


def check_terms(explainer: nn.Module, terms: dict[str, Tensor]) -> None:
    """Check that own terms are finite scalars with a gradient, not zero everywhere, by the explainer's weights."""
    trained = [weight for weight in explainer.parameters() if weight.requires_grad]
    _require(bool(terms), "there is no term")
    for name, term in terms.items():
        _require(term.shape == () and bool(term.isfinite()), f"term {name!r} is {term}")
        slopes = torch.autograd.grad(term, trained, allow_unused=True, retain_graph=True)
        _require(any(slope is not None and bool(slope.any()) for slope in slopes), f"term {name!r} trains nothing")
        _require(
            all(slope is None or bool(slope.isfinite().all()) for slope in slopes), f"{name!r}: gradient not finite"
        )


class MadeToFailError(Exception):
    """Stands for any error inside the model."""


def _require(claim: bool, message: str) -> None:
    # Not an assert statement, which python -O leaves out.
    if not claim:
        raise AssertionError(message)


@torch.no_grad()
def _parts_that_run(model: nn.Module, inputs: Tensor) -> list[nn.Module]:
    """Return the model's direct parts that its forward calls; deeper ones may be passed by on a fused path."""
    ran: list[nn.Module] = []
    hooks = [part.register_forward_hook(lambda part, *_: ran.append(part)) for part in model.children()]
    modes = {part: part.training for part in model.modules()}
    model.eval()(inputs)
    for part, mode in modes.items():
        part.training = mode
    for hook in hooks:
        hook.remove()
    return ran or [model]


@contextmanager
def _mode_of_each(model: nn.Module, training: bool) -> Iterator[None]:
    """Put the model in a mode, but its last part in the other, so that a blanket train() afterwards shows."""
    before = {part: part.training for part in model.modules()}
    model.train(training)
    list(model.modules())[-1].training = not training
    try:
        yield
    finally:
        for part, mode in before.items():
            part.training = mode


@contextmanager
def _failing(part: nn.Module) -> Iterator[None]:
    def fail(*_: object, **__: object) -> Tensor:
        raise MadeToFailError

    # Set on the object, where it hides the class's method until it is deleted.
    part.forward = fail
    try:
        yield
    finally:
        del part.forward


@contextmanager
def _unchanged(explainer: Attribution, model: nn.Module, inputs: Tensor) -> Iterator[None]:
    modules = [model, explainer] if isinstance(explainer, nn.Module) else [model]
    looks: dict[str, Callable[[], object]] = {
        "hooks": lambda: [len(vars(part)[name]) for module in modules for part in module.modules() for name in HOOKS],
        "modes": lambda: [part.training for module in modules for part in module.modules()],
        "requires_grad": lambda: [weight.requires_grad for module in modules for weight in module.parameters()],
        "grad enabled": torch.is_grad_enabled,
        "numpy's random state": lambda: np.random.get_state(legacy=False)["state"]["key"].tolist(),  # noqa: NPY002
        "Python's random state": random.getstate,
        "inputs.requires_grad": lambda: inputs.requires_grad,
    }
    tensors: dict[str, Callable[[], list[Tensor | None]]] = {
        "weights": lambda: [value for module in modules for value in module.state_dict().values()],
        ".grad": lambda: [weight.grad for module in modules for weight in module.parameters()] + [inputs.grad],
        "inputs": lambda: [inputs.detach()],
        "torch's random state": lambda: [torch.get_rng_state()],
    }
    seen = {name: look() for name, look in looks.items()}
    kept = {name: _copies(look()) for name, look in tensors.items()}
    yield
    for name, look in looks.items():
        _require(look() == seen[name], f"{name} changed")
    for name, look_at in tensors.items():
        now, before = look_at(), kept[name]
        same = [_same(first, other) for first, other in zip(now, before, strict=True)]
        _require(all(same), f"{name} changed")


def _copies(tensors: list[Tensor | None]) -> list[Tensor | None]:
    return [None if tensor is None else tensor.clone() for tensor in tensors]


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
