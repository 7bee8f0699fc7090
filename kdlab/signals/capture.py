"""Outputs, inputs and attention weights of named submodules, for the length of a ``with`` block.

Forward hooks by module path and not a traced graph: paths are those that ``print(model)`` shows, and forwards that
branch on values, unpack shapes or use ``nn.TransformerEncoder`` work as they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

KINDS = ("output", "input", "weights")
# Places of nn.MultiheadAttention.forward's arguments, for callers who pass them by position.
NEED_WEIGHTS, AVERAGE_WEIGHTS = 4, 6


@dataclass(frozen=True)
class Spot:
    """A place in a model: ``path[#call][:input|output|weights]``; calls count from 1."""

    path: str
    kind: str
    call: int | None

    @classmethod
    def parse(cls, name: str) -> "Spot":
        """Read a name.

        Raises:
            ValueError: If the part after the colon is none of the kinds, or the call is no number from 1.
        """
        place, colon, kind = name.partition(":")
        path, hash_sign, call = place.partition("#")
        if colon and kind not in KINDS:
            raise ValueError(f"layer {name!r} asks for {kind!r}; after the colon stands one of {', '.join(KINDS)}")
        if hash_sign and not (call.isdecimal() and int(call) > 0):
            raise ValueError(f"layer {name!r} names call {call!r}; calls are numbers from 1, as in '{path}#1'")
        return cls(path, kind or "output", int(call) if hash_sign else None)


@dataclass
class Captured:
    """What the hooks saw. Read it by the very names that were asked for, in or after the ``with`` block."""

    spots: dict[str, Spot]
    seen: dict[tuple[str, str], list[tuple[Tensor, int | None]]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        """Return the tensor of one name.

        Raises:
            KeyError: If this name was not asked for.
            RuntimeError: If the layer did not run, ran more often than the name allows for, or if its tensor was
                overwritten in place after it was captured.
        """
        if name not in self.spots:
            raise KeyError(f"{name!r} was not captured; captured are {sorted(self.spots)}")
        spot = self.spots[name]
        calls = self.seen.get((spot.path, spot.kind), [])
        if not calls:
            raise RuntimeError(f"layer {name!r} did not run in this forward; choose a layer that the model calls")
        if spot.call is None and len(calls) > 1:
            choices = ", ".join(f"{spot.path}#{number}" for number in range(1, len(calls) + 1))
            raise RuntimeError(f"layer {name!r} ran {len(calls)} times; name the call: {choices}")
        if spot.call is not None and spot.call > len(calls):
            raise RuntimeError(f"layer {name!r} names call {spot.call}, but the layer ran {len(calls)} times")
        tensor, version = calls[(spot.call or 1) - 1]
        if version is not None and tensor._version != version:
            raise RuntimeError(
                f"the tensor of layer {name!r} was overwritten in place after it was captured (an in-place activation "
                "or a += behind it); capture the layer that overwrites it, or build the model with inplace=False"
            )
        return tensor

    def ordered(self, names: Sequence[str]) -> list[Tensor]:
        """Return the tensors of these names, in their order."""
        return [self[name] for name in names]

    def keep(self, path: str, kind: str, value: object) -> None:
        """Note a tensor, or the first of a tuple, list or mapping, as one call of a layer."""
        parts = list(value.values()) if isinstance(value, Mapping) else value
        tensor = parts[0] if isinstance(parts, (tuple, list)) and parts else value
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"the {kind} of layer {path!r} is {type(value).__name__}, not a tensor; capture a layer inside it"
            )
        # Tensors made under inference mode have no version to compare, so a copy is what keeps them as they were.
        kept = (tensor.clone(), None) if tensor.is_inference() else (tensor, tensor._version)
        self.seen.setdefault((path, kind), []).append(kept)


def layer_paths(model: nn.Module) -> dict[str, nn.Module]:
    """Return every submodule by its path, without the prefixes that DDP and ``torch.compile`` put in front."""
    bare = model.module if isinstance(model, DistributedDataParallel) else model
    named = bare.named_modules(remove_duplicate=False)
    paths = {".".join(part for part in path.split(".") if part != "_orig_mod"): module for path, module in named}
    return {path: module for path, module in paths.items() if path}


def find_layer(model: nn.Module, path: str) -> nn.Module:
    """Return the submodule at a path.

    Raises:
        KeyError: If there is none; it says what there is and what comes nearest.
    """
    layers = layer_paths(model)
    if path not in layers:
        nearest = get_close_matches(path, layers, n=1, cutoff=0.0)
        hint = f"nearest is {nearest[0]!r}; " if nearest else ""
        raise KeyError(f"no layer {path!r} in {type(model).__name__}; {hint}it has {list(layers)[:20]}")
    return layers[path]


@contextmanager
def capture(model: nn.Module, names: Sequence[str]) -> Iterator[Captured]:
    """Keep the named tensors of the forwards inside the block; no hook stays afterwards, also not after an error.

    A name is a module path with an optional call and kind: ``layer3`` (its output), ``head:input`` (its first input),
    ``encoder.layers.2.self_attn:weights`` (attention weights of an ``nn.MultiheadAttention``, (batch, heads,
    queries, keys), while the model itself goes on to get what it asked for), ``block#2`` (second call of a module
    that runs twice). Of a tuple or mapping the first tensor is meant. The tensors are part of the graph exactly when
    the forward ran with gradients.

    A compiled model runs uncompiled inside the block, because hooks placed after its first call would not fire.

    Raises:
        KeyError: If a path leads to no module.
        ValueError: If a name cannot be read.
        TypeError: If ``:weights`` is asked of another module than ``nn.MultiheadAttention``.
    """
    captured = Captured({name: Spot.parse(name) for name in names})
    places = {(spot.path, spot.kind): find_layer(model, spot.path) for spot in captured.spots.values()}
    with ExitStack() as stack:
        for (path, kind), module in places.items():
            _hook(stack, captured, path, kind, module)
        if _is_compiled(model):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield captured


def _is_compiled(model: nn.Module) -> bool:
    inside = any("_orig_mod" in path.split(".") for path, _ in model.named_modules())
    return inside or any(module._compiled_call_impl is not None for module in model.modules())


def _hook(stack: ExitStack, captured: Captured, path: str, kind: str, module: nn.Module) -> None:
    if kind == "weights":
        if not isinstance(module, nn.MultiheadAttention):
            raise TypeError(
                f"layer {path!r} is {type(module).__name__}; only nn.MultiheadAttention has weights to capture"
            )
        _hook_attention(stack, captured, path, module)
    elif kind == "input":

        def before(_: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
            captured.keep(path, kind, next(iter((*positional, *named.values())), None))

        stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
    else:

        def after(_: nn.Module, __: object, output: object) -> None:
            captured.keep(path, kind, output)

        stack.callback(module.register_forward_hook(after).remove)


def _hook_attention(stack: ExitStack, captured: Captured, path: str, module: nn.MultiheadAttention) -> None:
    """Have the weights computed a head, keep them, and hand on what the caller had asked for."""
    requested: list[tuple[bool, bool]] = []

    # Positional and named are whatever the attention was called with, so nothing narrower than Any is true.
    def before(
        _: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        arguments, named = list(positional), dict(named)
        needed_arguments = {"need_weights": (NEED_WEIGHTS, True), "average_attn_weights": (AVERAGE_WEIGHTS, False)}
        before_us = []
        for key, (place, value) in needed_arguments.items():
            if place < len(arguments):
                before_us.append(bool(arguments[place]))
                arguments[place] = value
            else:
                before_us.append(bool(named.get(key, True)))
                named[key] = value
        requested.append((before_us[0], before_us[1]))
        return tuple(arguments), named

    def after(_: nn.Module, __: object, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor | None]:
        attended, weights = output
        captured.keep(path, "weights", weights)
        needed, averaged = requested.pop()
        if not needed:
            return attended, None
        return attended, weights.mean(dim=-3) if averaged else weights

    stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
    stack.callback(module.register_forward_hook(after).remove)
