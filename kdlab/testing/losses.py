"""What a loss must hold; call these on your own.

Each check makes signals by the names that the loss's ``forward`` asks for, on a copy of the loss, and raises
AssertionError with what was found. Give a signal by name where the loss needs another shape than ``example`` makes.
"""

import copy
from collections.abc import Iterator
from operator import methodcaller

import torch
from torch import Tensor, nn

from kdlab.testing.loss_signals import (
    TRAINED,
    Signal,
    Signals,
    Transform,
    changed,
    evaluate,
    example,
    listed,
    with_floats_changed,
)


def check_scalar(loss: nn.Module, **given: Signal) -> None:
    """The value has no axes, is finite, and is float32 for half precision and float64 for double."""
    for dtype, expected in ((torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64,) * 2):
        value = evaluate(loss, with_floats_changed(example(loss, **given), methodcaller("to", dtype))).detach()
        _require(value.shape == (), f"the value has shape {tuple(value.shape)}")
        _require(value.dtype == expected, f"{dtype} gives {value.dtype}, not {expected}")
        _require(bool(value.isfinite()), f"{dtype} gives {float(value)}")


def check_zero_at_equality(loss: nn.Module, minimum: float = 0.0, tolerance: float = 1e-6, **given: Signal) -> None:
    """A student with the teacher's very tensors has the stated minimum, and others have more."""
    signals = example(loss, **given)
    perfect = {name: signals.get(name.removeprefix("teacher_"), value) for name, value in signals.items()}
    value = float(evaluate(loss, perfect).detach())
    _require(abs(value - minimum) <= tolerance, f"a perfect student costs {value}, not {minimum}")
    other = float(evaluate(loss, signals).detach())
    _require(other > minimum + tolerance, f"another student costs {other}, no more than the minimum {minimum}")


def check_gradient_reaches(loss: nn.Module, *names: str, **given: Signal) -> None:
    """Each named signal gets a gradient that is finite and not zero."""
    signals, leaves = _with_gradient(example(loss, **given))
    _, gradients = _gradients(loss, signals, leaves)
    for name in names:
        for gradient in gradients[name]:
            _require(gradient is not None, f"{name} is not connected to the loss")
            _require(bool(gradient.isfinite().all()), f"the gradient of {name} is not finite")
            _require(bool(gradient.any()), f"the gradient of {name} is zero")


def check_pulls_towards_teacher(loss: nn.Module, distance: float = 0.1, **given: Signal) -> None:
    """A step towards the teacher's tensors makes the loss smaller, from ``distance`` of the way to made-up ones."""
    signals = example(loss, **given)
    for name in TRAINED:
        if name in signals:
            pairs = zip(listed(signals[name]), listed(signals[f"teacher_{name}"]), strict=True)
            near = [torch.lerp(theirs, ours, distance) for ours, theirs in pairs]
            signals[name] = near if isinstance(signals[name], list) else near[0]
    signals, leaves = _with_gradient(signals)
    _, gradients = _gradients(loss, signals, leaves)
    slope = 0.0
    for name, tensors in leaves.items():
        for ours, theirs, gradient in zip(tensors, listed(signals[f"teacher_{name}"]), gradients[name], strict=True):
            slope += float((gradient * (theirs - ours.detach())).sum())
    _require(slope < 0, f"the loss grows by {slope} towards the teacher")


def check_invariant(loss: nn.Module, tolerance: float = 1e-5, given: Signals | None = None, **maps: Transform) -> None:
    """The value stays the same if the named signals are transformed."""
    signals = example(loss, **(given or {}))
    other = {name: changed(value, maps[name]) if name in maps else value for name, value in signals.items()}
    before, after = float(evaluate(loss, signals).detach()), float(evaluate(loss, other).detach())
    _require(abs(before - after) <= tolerance * max(1.0, abs(before)), f"the value changes from {before} to {after}")


def check_refuses(loss: nn.Module, given: Signals | None = None, **maps: Transform) -> None:
    """Transformed signals that do not fit are refused with a ValueError of one line."""
    signals = example(loss, **(given or {}))
    try:
        evaluate(loss, {name: changed(value, maps[name]) if name in maps else value for name, value in signals.items()})
    except ValueError as error:
        _require("\n" not in str(error), f"the error has several lines: {error}")
        return
    raise AssertionError(f"{type(loss).__name__} takes {sorted(maps)} that do not fit")


def check_leaves_signals(loss: nn.Module, **given: Signal) -> None:
    """No tensor is changed and no ``grad`` is filled; a model keeps its mode and its state."""
    signals, leaves = _with_gradient(example(loss, **given))
    model = signals.get("model")
    before = copy.deepcopy(with_floats_changed(signals, lambda x: x.detach().clone()))
    evaluate(loss, signals)
    for name, value in before.items():
        for old, new in zip(listed(value), listed(signals[name]), strict=True):
            if isinstance(old, Tensor):
                _require(torch.equal(old, new.detach()), f"{name} is changed")
    _require(all(x.grad is None for tensors in leaves.values() for x in tensors), "grad is filled")
    if isinstance(model, nn.Module):
        old_state = before["model"].state_dict()
        _require(all(torch.equal(old_state[key], x) for key, x in model.state_dict().items()), "the model is changed")
        _require(all(module.training for module in model.modules()), "the model's mode is changed")


def check_finite(loss: nn.Module, largest: float = 1e4, **given: Signal) -> None:
    """Value and gradients are finite for degenerate tensors, and gradients of ordinary ones no larger than ``largest``.

    Batches of one are made unless signals are given. A gradient may leave float16's range where the signals nearly
    do.
    """
    for batch in (4,) if given else (1, 4):
        for what, signals in _degenerate(example(loss, batch=batch, **given)):
            _check_finite(loss, f"{what}, batch of {batch}", signals, float("inf") if "1e4" in what else largest)


def _check_finite(loss: nn.Module, what: str, signals: Signals, largest: float) -> None:
    signals, leaves = _with_gradient(signals)
    value, gradients = _gradients(loss, signals, leaves)
    _require(bool(value.isfinite()), f"{what}: the value is {float(value.detach())}")
    for name, tensors in gradients.items():
        for gradient in tensors:
            if gradient is not None:
                overflow = gradient.isinf() & (gradient.dtype == torch.float16 and largest == float("inf"))
                _require(bool((gradient.isfinite() | overflow).all()), f"{what}: the gradient of {name} is not finite")
                size = float(gradient.abs().max())
                _require(size <= largest, f"{what}: the gradient of {name} is as large as {size}")


def _degenerate(signals: Signals) -> Iterator[tuple[str, Signals]]:
    ours = [name for name in signals if name in TRAINED]
    theirs = [name for name in signals if name.startswith("teacher_")]
    both = ours + theirs
    maps: dict[str, tuple[list[str], Transform]] = {
        "as made": (both, lambda x: x),
        "constant student": (ours, lambda x: torch.full_like(x, 3.3)),
        "constant teacher": (theirs, lambda x: torch.full_like(x, 3.3)),
        "constant both": (both, lambda x: torch.full_like(x, 3.3)),
        "dead student": (ours, torch.zeros_like),
        "dead teacher": (theirs, torch.zeros_like),
        "dead both": (both, torch.zeros_like),
        "equal samples": (both, lambda x: x[:1].expand_as(x).clone()),
        "margins of 1e4": (both, lambda x: x * 1e4),
        "margins of 1e4 and a constant teacher of 1e4": (both, lambda x: x.sign() * 1e4),
        "bfloat16": (both, lambda x: x.bfloat16()),
        "float16": (both, lambda x: x.half()),
        "float16, margins of 1e4": (both, lambda x: (x.clamp(-3, 3) * 1e4).half()),
    }
    for what, (names, change) in maps.items():
        yield what, {name: changed(value, change) if name in names else value for name, value in signals.items()}


def _with_gradient(signals: Signals) -> tuple[Signals, dict[str, list[Tensor]]]:
    """Signals in which the student's tensors are leaves that require gradients, and these leaves."""
    made = {
        name: changed(value, lambda x: x.detach().clone().requires_grad_()) if name in TRAINED else value
        for name, value in signals.items()
    }
    return made, {name: listed(value) for name, value in made.items() if name in TRAINED}


def _gradients(
    loss: nn.Module, signals: Signals, leaves: dict[str, list[Tensor]]
) -> tuple[Tensor, dict[str, list[Tensor]]]:
    value = evaluate(loss, signals)
    flat = [tensor for tensors in leaves.values() for tensor in tensors]
    gradients = iter(torch.autograd.grad(value, flat, allow_unused=True))
    return value, {name: [next(gradients) for _ in tensors] for name, tensors in leaves.items()}


def _require(holds: bool, found: str) -> None:
    if not holds:
        raise AssertionError(found)
