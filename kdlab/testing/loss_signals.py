"""Made-up signals for a loss, by the names that it asks for."""

import copy
import inspect
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

CLASSES = 5
SHAPE = (3, 6, 6)
Signal: TypeAlias = Any  # a tensor, a list of tensors or a model
Signals: TypeAlias = dict[str, Signal]
Transform: TypeAlias = Callable[[Tensor], Tensor]


@runtime_checkable
class Prepared(Protocol):
    """A loss with parts that are made for the first batch."""

    def prepare(self, *arguments: Signal, **signals: Signal) -> None:
        """Make the parts from signals asked for by name."""


def example(loss: nn.Module, batch: int = 4, seed: int = 0, **given: Signal) -> Signals:
    """Return signals for a loss: what is given, and for every other name that it asks for, made-up float32 tensors."""
    generator = torch.Generator().manual_seed(seed)
    requested = list(inspect.signature(loss.forward).parameters)
    requested += inspect.signature(loss.prepare).parameters if isinstance(loss, Prepared) else []
    made = {name: make(batch, generator) for name, make in MAKERS.items() if name in requested}
    unknown = set(requested) - set(made) - set(given)
    if unknown:
        raise AssertionError(f"{type(loss).__name__} asks for {sorted(unknown)}; give them to the check by name")
    return {**made, **given}


def evaluate(loss: nn.Module, signals: Signals) -> Tensor:
    """Return the loss of signals, prepared for them if it has ``prepare``; the loss itself stays as it is."""
    loss = copy.deepcopy(loss)
    if isinstance(loss, Prepared):
        torch.manual_seed(0)
        loss.prepare(**{name: signals[name] for name in inspect.signature(loss.prepare).parameters})
    value: Tensor = loss(**{name: signals[name] for name in inspect.signature(loss.forward).parameters})
    return value


def changed(value: Signal, change: Transform) -> Signal:
    """A tensor or each tensor of a list changed; class numbers and models are not."""
    if isinstance(value, Tensor):
        return change(value) if value.is_floating_point() else value
    return [changed(each, change) for each in value] if isinstance(value, list) else value


def with_floats_changed(signals: Signals, change: Transform) -> Signals:
    """Signals in which every tensor is changed that is no class numbers; a model follows the inputs' precision."""
    made = {name: changed(value, change) for name, value in signals.items()}
    if isinstance(made.get("model"), nn.Module) and isinstance(made.get("inputs"), Tensor):
        made["model"] = copy.deepcopy(made["model"]).to(made["inputs"].dtype)
    return made


def listed(value: Signal) -> list[Signal]:
    """A list, or the only element as one."""
    return value if isinstance(value, list) else [value]


def _normal(*shape: int) -> Callable[[int, torch.Generator], Tensor]:
    return lambda batch, generator: torch.randn(batch, *shape, generator=generator)


def _layers(batch: int, generator: torch.Generator) -> list[Tensor]:
    return [torch.randn(batch, 6, 4, 4, generator=generator) for _ in range(2)]


def _network(batch: int, generator: torch.Generator) -> nn.Module:
    channels, height, width = SHAPE
    layers = [nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(4 * height * width, CLASSES))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    return network


TRAINED = ("logits", "features", "attributions")
MAKERS: dict[str, Callable[[int, torch.Generator], Any]] = {
    "inputs": _normal(*SHAPE),
    "target": lambda batch, generator: torch.randint(CLASSES, (batch,), generator=generator),
    "explained": lambda batch, generator: torch.randint(CLASSES, (batch,), generator=generator),
    "index": lambda batch, generator: torch.arange(batch),
    "mask": lambda batch, generator: torch.randint(2, (batch, *SHAPE), generator=generator).float(),
    "model": _network,
    "baseline": lambda batch, generator: torch.zeros(SHAPE),
    "logits": _normal(CLASSES),
    "preds": _normal(CLASSES),
    "teacher_logits": _normal(CLASSES),
    "features": _layers,
    "teacher_features": _layers,
    "attributions": _normal(*SHAPE),
    "teacher_attributions": _normal(*SHAPE),
}
