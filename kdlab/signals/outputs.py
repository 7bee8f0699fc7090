"""The logits in what a network returns: a tensor, or a mapping or dataclass with them as ``logits``."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


@runtime_checkable
class HasLogits(Protocol):
    """A dataclass or named tuple such as Hugging Face's ``ModelOutput`` or torchvision's ``GoogLeNetOutputs``."""

    # What a network calls its logits may be no tensor, which is then refused.
    logits: Any


def logits_of(output: object) -> Tensor:
    """Return the logits of a network's output; a tensor is taken as it is, whatever its shape.

    Raises:
        TypeError: If it is no tensor and has none called ``logits``.
    """
    if isinstance(output, Tensor):
        return output
    logits = output.get("logits") if isinstance(output, Mapping) else None
    if logits is None and isinstance(output, HasLogits):
        logits = output.logits
    if not isinstance(logits, Tensor):
        raise TypeError(
            f"a network returned {type(output).__name__}{_with(output)}; kdlab needs a tensor of logits (batch, "
            f"classes), or a mapping or dataclass that has it as 'logits'"
        )
    return logits


def check_logits(logits: Tensor, network: str) -> Tensor:
    """Return the logits if they are (batch, classes) with two classes or more.

    Args:
        logits: what the network gave.
        network: what to call it, such as ``the model (MLP)``.

    Raises:
        ValueError: If they are not; it says what to do.
    """
    if logits.ndim == 2 and logits.shape[1] > 1:
        return logits
    problem = f"{network} gives logits of shape {tuple(logits.shape)}, and (batch, classes) is needed"
    if logits.ndim == 1 or logits.shape[-1:] == (1,):
        raise ValueError(f"{problem}: give a binary classifier two logits, one a class")
    raise ValueError(f"{problem}: give one row of logits a sample, such as those of one token or their mean")


def check_class_order(found: Sequence[str], wanted: Sequence[str], whose: str) -> None:
    """Refuse classes that are others, or stand in another order, than those that are needed, such as the data's.

    Args:
        found: names of the classes, in the order of the logits.
        wanted: those that are needed.
        whose: whose logits they are, such as ``the teacher``.

    Raises:
        ValueError: If they differ; it says where.
    """
    if list(found) == list(wanted):
        return
    if sorted(found) != sorted(wanted):
        raise ValueError(f"{whose} knows the classes {list(found)[:20]}, {list(wanted)[:20]} are needed")
    place = next(place for place, (one, other) in enumerate(zip(found, wanted, strict=True)) if one != other)
    raise ValueError(
        f"{whose} has its classes in another order: logit {place} is of {found[place]!r} and {wanted[place]!r} is "
        f"needed there; wrap the network as kdlab.signals.outputs.Reordered(network, {list(found)[:20]}, "
        f"{list(wanted)[:20]})"
    )


class Reordered(nn.Module):
    """A network whose logits stand in another order of the classes; its layers have ``network.`` before their paths.

    Args:
        network: from inputs to logits (batch, classes), or something that has them as ``logits``.
        found: names of its classes, in the order of its logits.
        wanted: the same names in the order that is wanted.

    Raises:
        ValueError: If the names are not the same, or one is there twice.
    """

    order: Tensor

    def __init__(self, network: nn.Module, found: Sequence[str], wanted: Sequence[str]) -> None:
        super().__init__()
        if sorted(found) != sorted(wanted) or len(set(found)) < len(found):
            raise ValueError(f"{list(found)[:20]} cannot be put in the order {list(wanted)[:20]}; name each class once")
        self.network = network
        self.register_buffer("order", torch.tensor([list(found).index(name) for name in wanted]), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, classes) in the wanted order."""
        return logits_of(self.network(inputs)).index_select(1, self.order)


def shape_of_logits(network: nn.Module, inputs: Tensor, name: str) -> tuple[int, ...]:
    """Return the shape of a network's logits, in eval mode and without gradient; its modes stay as they were.

    Args:
        network: from inputs (batch, ...).
        inputs: what it is to take.
        name: what to call it, such as ``its model``.

    Raises:
        TypeError: If it returns no logits.
        ValueError: If it cannot take the inputs; it says what a sample is and which layer takes something else.
    """
    modes = [(part, part.training) for part in network.modules()]
    entered: list[tuple[str, nn.Module, object]] = []
    hooks = [hook for path, part in network.named_modules() if part._parameters for hook in _noted(entered, path, part)]
    try:
        with torch.no_grad():
            return tuple(logits_of(network.eval()(inputs)).shape)
    except (RuntimeError, ValueError, IndexError) as error:
        if type(error) not in (RuntimeError, ValueError, IndexError) or not entered:
            raise  # out of memory, say, has nothing to do with shapes
        path, layer, entering = entered[-1]
        whole = not inputs.is_floating_point()
        values = f"token numbers ({inputs.dtype})" if whole else "values"
        advice = "take a model that begins with an embedding" if whole else "correct its arguments"
        raise ValueError(
            f"{name} ({type(network).__name__}) does not take the data's inputs: a sample is of shape "
            f"{tuple(inputs.shape[1:])}, which is {inputs[0].numel()} {values}, and its layer {path or 'itself'}, "
            f"{' '.join(repr(layer).split())}, was given {entering}; {advice}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
        for part, mode in modes:
            part.training = mode


def _noted(entered: list[tuple[str, nn.Module, object]], path: str, layer: nn.Module) -> list[RemovableHandle]:
    """Keep the layers that run, each with the shape that it was given, until they are done."""

    def before(_: nn.Module, given: tuple[object, ...]) -> None:
        first = given[0] if given else None
        entered.append((path, layer, tuple(first.shape) if isinstance(first, Tensor) else type(first).__name__))

    def after(*_: object) -> None:
        entered.pop()

    return [layer.register_forward_pre_hook(before), layer.register_forward_hook(after)]


class AsLogits(nn.Module):
    """A network that returns its logits alone, for callers who take nothing else.

    Args:
        network: from inputs to anything that ``logits_of`` takes.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, classes)."""
        return logits_of(self.network(inputs))


def _with(output: object) -> str:
    if isinstance(output, Mapping):
        return f" with {sorted(map(str, output))}"
    if isinstance(output, Iterable):
        return f" of {[type(part).__name__ for part in output]}"
    return ""
