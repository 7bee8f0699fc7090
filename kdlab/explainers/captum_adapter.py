"""Every captum method under kdlab's contract."""

import importlib
import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from captum.attr import Attribution as CaptumMethod
from captum.attr import (
    Deconvolution,
    DeepLift,
    FeaturePermutation,
    GradientShap,
    GuidedBackprop,
    GuidedGradCam,
    LayerAttribution,
    LayerFeaturePermutation,
    LayerGradientShap,
    LimeBase,
    NeuronDeconvolution,
    NeuronGradientShap,
    NeuronGuidedBackprop,
    NoiseTunnel,
    PerturbationAttribution,
)
from torch import Tensor, nn

from kdlab.explainers.base import chosen_class, explaining, predicted_class, refuse_whole
from kdlab.explainers.spatial import as_inputs
from kdlab.signals.capture import find_layer, layer_paths
from kdlab.signals.outputs import AsLogits, logits_of

TENSORS = ("baselines", "feature_mask", "layer_baselines", "layer_mask", "interpretable_input")
REFUSED = ("return_convergence_delta", "inputs", "target", "self")

# These replace the gradient of nn.ReLU modules, and are plain slopes without a word where there are none.
GUIDED = (Deconvolution, GuidedBackprop, GuidedGradCam, NeuronDeconvolution, NeuronGuidedBackprop)
# These draw for the batch as a whole, so that a sample's draws hang on those before it.
DRAWING = (LimeBase, GradientShap, LayerGradientShap, NeuronGradientShap)
# These exchange a value with another sample's: nothing of one sample alone, and otherwise its neighbours'.
PERMUTING = (FeaturePermutation, LayerFeaturePermutation)
# DeepLift sees modules only; where functional activations or a module used twice escape it, its sum is off by this
# share.
INCOMPLETE = 0.02


class Captum:
    """One of captum's methods, for scoring and looking at; never for a training loss.

    captum's results carry no gradient to the weights (LayerGradCam's a partial, wrong one), so they come out
    detached and ``differentiable`` is False. A layer's attributions are summed over its channels and stretched over
    the inputs' grid. Random methods draw from ``seed``, those that would draw for a whole batch for every sample anew,
    so that a sample's attribution does not depend on its batch; the global random state stays as it is. Methods that
    need a batch by definition are refused. https://captum.ai/api

    Args:
        model: A classifier with logits (batch, classes).
        method: Class path or class, e.g. ``captum.attr.IntegratedGradients``; a bare name is looked up in
            ``captum.attr``.
        layer: Path of the layer, for layer and neuron methods and GuidedGradCam.
        arguments: Arguments of the method's constructor or of its ``attribute`` by name, e.g. ``{n_steps: 32}``.
            Lists become tensors for baselines and feature masks, tuples elsewhere (window shapes, strides, neurons).
        noise: Arguments of captum's NoiseTunnel, e.g. ``{nt_type: smoothgrad, nt_samples: 8, stdevs: 0.1}``; None:
            no tunnel.
        seed: Of the draws of random methods.

    Raises:
        ValueError: If the path leads nowhere, the layer is missing or too much, an argument is unknown, or a method
            that changes ReLUs finds none.
        TypeError: If the path leads to something that is no method of captum's, or to one that explains no single
            sample by itself.
        KeyError: If the model has no such layer.
    """

    differentiable: bool = False

    def __init__(
        self,
        model: nn.Module,
        method: str | type,
        layer: str | None = None,
        arguments: dict[str, Any] | None = None,  # whatever the method takes
        noise: dict[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.model = model
        self.seed = seed
        kind = find_method(method)
        self.name = kind.__name__
        built, called = _split(kind, {name: _plain(name, value) for name, value in (arguments or {}).items()})
        takes = inspect.signature(kind).parameters
        if ("layer" in takes) != (layer is not None):
            raise ValueError(
                f"{self.name} {'needs' if layer is None else 'takes no'} layer" + _layer_hint(model, layer)
            )
        first = next(iter(takes))
        build = {first: AsLogits(model), **built}
        if layer is not None:
            build["layer"] = find_layer(model, layer)
        self.method: CaptumMethod = kind(**build)
        self.arguments = called
        self.takes_target = "target" in inspect.signature(kind.attribute).parameters
        # A layer's attributions are no slopes by the inputs, whatever they are by the layer.
        self.multiplies_by_inputs = bool(self.method.multiplies_by_inputs) or isinstance(self.method, LayerAttribution)
        if isinstance(self.method, GUIDED) and not any(isinstance(part, nn.ReLU) for part in model.modules()):
            raise ValueError(
                f"{self.name} changes nn.ReLU modules, and {type(model).__name__} has none; choose Saliency"
            )
        self.adds_up = isinstance(self.method, DeepLift) and bool(self.method.multiplies_by_inputs) and noise is None
        self.needs_gradient = not isinstance(self.method, PerturbationAttribution)
        self.sample_by_sample = noise is not None or isinstance(self.method, DRAWING)
        if noise is not None:
            self.method = NoiseTunnel(self.method)
            self.arguments = {**called, **_known(NoiseTunnel.attribute, noise, "NoiseTunnel")}

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Return attributions in the inputs' shape; ``target`` (batch,) is the class explained, None the model's own.

        Raises:
            TypeError: If the method needs a gradient, and inputs are whole numbers.
            ValueError: If the method's result cannot be laid over the inputs, or DeepLift's does not add up.
        """
        if self.needs_gradient:
            refuse_whole(inputs)
        explained = predicted_class(self.model, inputs) if target is None else target
        with explaining(self.model), torch.set_grad_enabled(self.needs_gradient):
            # One sample's logits tell how many classes there are, for captum would fail deep inside.
            explained = chosen_class(logits_of(self.model(inputs[:1].clone())).expand(len(inputs), -1), explained)
            # captum warns about inputs that do not require a gradient where it needs one.
            plain = inputs.detach().clone().requires_grad_(self.needs_gradient)
            if not self.sample_by_sample:
                return self._attribute(plain, explained)
            rows = [self._attribute(plain[row : row + 1], explained[row : row + 1]) for row in range(len(plain))]
            return torch.cat(rows) if rows else torch.zeros_like(inputs)

    def _attribute(self, inputs: Tensor, target: Tensor) -> Tensor:
        arguments = {name: _beside(inputs, value) for name, value in self.arguments.items()}
        if self.takes_target:
            arguments["target"] = target
        if self.adds_up:
            arguments["return_convergence_delta"] = True
        with _seeded(self.seed, inputs.device):
            result = self.method.attribute(inputs, **arguments)
        if self.adds_up:
            result, missing = result
            self._check_sum(result, missing)
        if isinstance(result, tuple):
            if len(result) != 1:
                raise ValueError(f"{self.name} gives {len(result)} tensors; choose a layer with a single output")
            result = result[0]
        attributions: Tensor = result.detach()
        if attributions.shape == inputs.shape:
            return attributions
        if attributions.dim() != inputs.dim() or inputs.dim() < 3:
            raise ValueError(
                f"{self.name} gives {tuple(attributions.shape)}, which cannot be laid over inputs {tuple(inputs.shape)}"
            )
        return as_inputs(attributions.sum(dim=1, keepdim=True), inputs)

    def _check_sum(self, result: Tensor | tuple[Tensor, ...], missing: Tensor) -> None:
        """Refuse contributions that do not sum to the change of the score."""
        parts = result if isinstance(result, tuple) else (result,)
        size = sum(part.detach().flatten(1).abs().sum(dim=1).max().item() for part in parts if len(part))
        off = missing.detach().abs().max().item() if len(missing) else 0.0
        if off > INCOMPLETE * size + 1e-4:
            raise ValueError(
                f"{self.name} does not add up on {type(self.model).__name__} (off by {off:.3g} of {size:.3g}): it sees "
                "modules only; write activations as modules of their own, or choose IntegratedGradients"
            )


def find_method(method: str | type) -> type[CaptumMethod]:
    """Return captum's class of a path or a bare name.

    Raises:
        ValueError: If there is none.
        TypeError: If it is something else.
    """
    if isinstance(method, str):
        module_name, _, name = method.rpartition(".")
        try:
            module = importlib.import_module(module_name or "captum.attr")
        except ImportError as error:
            raise ValueError(f"no module {module_name!r} for the method {method!r}: {error}") from error
        attribution_class = vars(module).get(name)
        if attribution_class is None:
            nearest = get_close_matches(name, vars(module), n=3)
            raise ValueError(f"no {name!r} in {module.__name__}; nearest are {nearest}")
        method = attribution_class
    if not (isinstance(method, type) and issubclass(method, CaptumMethod)):
        raise TypeError(f"{method!r} is no captum method; give a class like captum.attr.IntegratedGradients")
    if issubclass(method, NoiseTunnel):
        raise TypeError("NoiseTunnel wraps a method; name that, and the tunnel's arguments as noise: {nt_samples: 8}")
    if issubclass(method, PERMUTING):
        instead = method.__name__.replace("Permutation", "Ablation")
        raise TypeError(
            f"{method.__name__} exchanges a value with other samples of the batch, so that what it says of a sample "
            f"hangs on its neighbours and is 0 for a sample alone; choose {instead}"
        )
    # captum's bases declare the method without having it.
    explains = getattr(method, "attribute", None)
    if explains is None or "inputs" not in inspect.signature(explains).parameters:
        raise TypeError(
            f"{method.__name__} explains no inputs by itself: it is a base of others, or works on texts or loaders; "
            "choose a method such as IntegratedGradients"
        )
    return method


def _layer_hint(model: nn.Module, layer: str | None) -> str:
    if layer is not None:
        return f" {layer!r}"
    return f"; {type(model).__name__} has {list(layer_paths(model))[:20]}"


def _split(kind: type[CaptumMethod], arguments: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part arguments into those of the constructor and those of ``attribute``."""
    constructor = [
        name for name in inspect.signature(kind).parameters if name not in ("forward_func", "model", "layer")
    ]
    built = {name: value for name, value in arguments.items() if name in constructor}
    rest = {name: value for name, value in arguments.items() if name not in constructor}
    return built, _known(kind.attribute, rest, kind.__name__, constructor)


def _known(
    function: Callable[..., object], arguments: dict[str, Any], name: str, further: list[str] | None = None
) -> dict[str, Any]:
    possible = [key for key in inspect.signature(function).parameters if key not in (*REFUSED, "kwargs")]
    for key in arguments:
        if key not in possible:
            raise ValueError(f"{name} takes no argument {key!r}; it takes {[*(further or []), *possible]}")
    return dict(arguments)


def _plain(name: str, value: object) -> object:
    if isinstance(value, list):
        return torch.tensor(value) if name in TENSORS else tuple(_plain("", part) for part in value)
    return value


def _beside(inputs: Tensor, value: object) -> object:
    """Move a tensor argument to where the inputs are."""
    return value.to(inputs.device) if isinstance(value, Tensor) else value


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from ``seed`` inside; give torch, numpy and Python their random states back."""
    # GradientShap draws its points from numpy's global generator, so that is the one to seed.
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)
