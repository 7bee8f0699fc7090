"""What an explainer is, and the frame in which every explained forward runs."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import log_softmax

from kdlab.signals.outputs import logits_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@runtime_checkable
class Attribution(Protocol):
    """Anything that says how much each input counted.

    ``attribute(inputs, target)`` returns a tensor of the inputs' shape; ``target`` (batch,) is the class explained,
    None the model's own prediction. ``multiplies_by_inputs`` claims that attributions speak of the input as it
    is, contributions or a relevance, and not slopes: metrics that remove features multiply slopes by the input's
    distance to the baseline. ``differentiable`` claims that under grad they are part of the graph and can stand in a
    loss.
    """

    multiplies_by_inputs: bool
    differentiable: bool

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Return attributions in the inputs' shape."""
        ...


@runtime_checkable
class Terms(Protocol):
    """A learned explainer with loss terms of its own, already weighted, from signals that it asks for by name."""

    # Each explainer names the signals it needs, so the parameters are open.
    def terms(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # noqa: ANN401
        """Return the weighted terms by name."""
        ...


@runtime_checkable
class Refits(Protocol):
    """A learned explainer that is fitted anew at an epoch's end, from batches (dicts with ``inputs``)."""

    def refit(self, loader: Iterable[Mapping[str, Any]]) -> None:
        """Fit to the model as it is now."""
        ...


@runtime_checkable
class Describes(Protocol):
    """A learned explainer with numbers to log about itself: size, depth, error."""

    def describe(self) -> dict[str, float]:
        """Return the numbers by name."""
        ...


@runtime_checkable
class Tells(Protocol):
    """A learned explainer with a readable form."""

    def text(self) -> str:
        """Return rules, a tree, a ranking."""
        ...


@runtime_checkable
class Writes(Protocol):
    """A learned explainer whose readable form is made for samples: shorter than itself, and measured against itself.

    It is asked once, with its final weights, before ``text`` and ``figure``.
    """

    def write(self, samples: Mapping[str, Tensor]) -> None:
        """Make the readable form for inputs (batch, ...), by what they are called: ``training``, ``validation``."""
        ...


@runtime_checkable
class Draws(Protocol):
    """A learned explainer with a picture of itself."""

    def figure(self) -> "Figure":
        """Return a matplotlib figure."""
        ...


@runtime_checkable
class Deploys(Protocol):
    """A learned explainer that can explain a prediction already made, by tensor operations alone.

    ``deployed()`` returns a module from ``(inputs, logits, explained)`` to attributions, for networks that stay as they
    are: what does not change with the input is computed once. ``logits`` (batch, classes) are the model's, and
    ``explained`` (batch,) is a class that exists; nothing is checked, no mode is touched, and it can be exported.
    """

    def deployed(self) -> nn.Module:
        """Return the module; it shares the explainer's weights."""
        ...


@contextmanager
def explaining(*modules: nn.Module) -> Iterator[bool]:
    """Frame of an explained forward; gives whether the caller wants the attribution in the graph.

    Inside, gradients are on (also under ``no_grad`` and ``inference_mode``), and the modules are in eval mode, because
    BatchNorm in train mode mixes samples into each other's attributions. Afterwards each submodule has its own mode
    back.
    """
    # Read first: leaving inference mode turns gradients on.
    keep_graph = torch.is_grad_enabled()
    modes = [(part, part.training) for module in modules for part in module.modules()]
    recurrent = any(isinstance(part, nn.RNNBase) for part, _ in modes)
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if keep_graph:
            # The fused kernels have no second derivative: https://github.com/pytorch/pytorch/issues/116350
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if keep_graph and is_compiled(part for part, _ in modes):
            # What is compiled has no second derivative either: https://github.com/pytorch/pytorch/issues/91469
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        if recurrent:
            # cuDNN's recurrent layers have no backward in eval mode, and no second one in any.
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        stack.callback(_restore, modes)
        for part, _ in modes:
            part.training = False
        yield keep_graph


def is_compiled(modules: Iterable[nn.Module]) -> bool:
    """Return whether ``torch.compile`` has one of these modules, as a wrapper or in place."""
    return any("_orig_mod" in part._modules or part._compiled_call_impl is not None for part in modules)


def _restore(modes: list[tuple[nn.Module, bool]]) -> None:
    for part, training in modes:
        part.training = training


def refuse_whole(inputs: Tensor) -> None:
    """Refuse inputs that no gradient can be taken of.

    Raises:
        TypeError: If they are not floating point, as token numbers are.
    """
    if not inputs.is_floating_point():
        raise TypeError(
            f"inputs of {inputs.dtype} have no gradient, as token numbers have none; name an explainer that removes"
            " them, such as {class_path: Captum, init_args: {method: captum.attr.FeatureAblation}}, or none at all"
        )


def watched(inputs: Tensor, keep_graph: bool) -> Tensor:
    """Return the inputs as a tensor that gradients can be taken of; the caller's tensor is left as it is.

    Raises:
        TypeError: If the inputs are not floating point, as token numbers are.
    """
    refuse_whole(inputs)
    if keep_graph and inputs.requires_grad:
        return inputs
    # A copy, because tensors made under inference mode cannot be watched.
    return inputs.detach().clone().requires_grad_()


def chosen_class(output: object, target: Tensor | None) -> Tensor:
    """Return the class explained for each sample (batch,): the target, or the top class of logits (batch, classes).

    Args:
        output: What a network returned, from which ``logits_of`` takes the logits.
        target: Classes (batch,), or None.

    Raises:
        ValueError: If the logits are no matrix, or the target has another length or names a class that there is not.
    """
    logits = logits_of(output)
    if logits.dim() != 2:
        raise ValueError(f"logits must be (batch, classes) to explain a class, got {tuple(logits.shape)}")
    if target is None:
        return logits.argmax(dim=1)
    if target.shape != logits.shape[:1]:
        raise ValueError(f"target must be {tuple(logits.shape[:1])}, got {tuple(target.shape)}")
    if target.numel() and not bool(((target >= 0) & (target < logits.shape[1])).all()):
        raise ValueError(
            f"target holds {sorted(set(target.tolist()))[:10]}; the model has classes 0 to {logits.shape[1] - 1}"
        )
    # A copy, because a target made under inference mode cannot be saved for a backward pass.
    return target.long().clone()


def class_score(output: object, target: Tensor | None) -> Tensor:
    """Return the score (batch,) of the class explained, of what a network returned."""
    logits = logits_of(output)
    return logits.gather(1, chosen_class(logits, target)[:, None])[:, 0]


def gradient(scores: Tensor, of: Tensor, keep_graph: bool) -> Tensor:
    """Return the derivative of each sample's score by ``of``, in the graph if asked.

    Raises:
        TypeError: If the scores do not depend on ``of`` by differentiable steps.
    """
    if not scores.requires_grad:
        raise TypeError("the model's output has no gradient; does its forward run under no_grad or detach?")
    (slope,) = torch.autograd.grad(scores.sum(), of, create_graph=keep_graph, materialize_grads=True)
    return slope


def predicted_class(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the model's own top class (batch,), in eval mode and without gradient."""
    with explaining(model), torch.no_grad():
        return chosen_class(model(inputs.clone()), None)


class Learned(nn.Module):
    """An explainer with weights of its own that learns to say what a model does.

    ``forward(inputs)`` is its prediction of the model, log-probabilities (batch, classes). The model explained is
    kept out of the submodules, so that its weights stand neither in this state_dict nor in this optimiser.

    Unless a subclass says otherwise, ``attribute`` is the slope of the explainer's own log-probability of the class
    explained, by the inputs; under grad it reaches the explainer's weights, not the model's.
    """

    multiplies_by_inputs: bool = False
    differentiable: bool = True

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        # nn.Module registers modules that are set as attributes, but not those in a tuple.
        self._explained = (model,)

    @property
    def model(self) -> nn.Module:
        """The model explained."""
        return self._explained[0]

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Return the slope of the log-probability of the class explained, in the inputs' shape."""
        explained = predicted_class(self.model, inputs) if target is None else target
        with explaining(self) as keep_graph:
            watched_inputs = watched(inputs, keep_graph)
            scores = class_score(log_softmax(self(watched_inputs), dim=1), explained)
            return gradient(scores, watched_inputs, keep_graph)


def pieces(tensor: Tensor, rows: int) -> Iterator[Tensor]:
    """Cut a tensor along its first axis into parts of at most ``rows``, at least 1."""
    step = max(1, rows)
    for first in range(0, len(tensor), step):
        yield tensor[first : first + step]


def flattened(inputs: Tensor, features: int) -> Tensor:
    """Return inputs as (batch, features).

    Raises:
        ValueError: If a sample has another number of values.
    """
    flat = inputs.flatten(1)
    if flat.shape[1] != features:
        raise ValueError(
            f"the explainer was built for {features} features, the inputs {tuple(inputs.shape)} have {flat.shape[1]}"
        )
    return flat
