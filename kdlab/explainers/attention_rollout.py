"""How attention passes from the inputs' tokens to the last layer."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kdlab.explainers.base import chosen_class, explaining
from kdlab.signals.capture import capture, find_layer


@runtime_checkable
class LaysTokens(Protocol):
    """A model that says which place of its input each of its tokens stands for."""

    def tokens(self, shape: Sequence[int]) -> Tensor:
        """Return the token's number, 0 for the first that attention sees, of each value of one input of this shape.

        int64 in that shape, -1 where no token stands for the value. Class tokens count, and no value has theirs.
        """
        ...


class AttentionRollout:
    """Product of the layers' attention, each mixed half and half with its residual path.

    ``R = (A_L + I)/2 ... (A_1 + I)/2`` with A_l the mean over heads; a token's relevance is its column of R, of one
    query or the mean over all. It says where the model looked and is the same for every class. Abnar & Zuidema 2020,
    equations 1 and 2, https://arxiv.org/abs/2005.00928.

    Which token stands for which place of the input only the model knows: it says so by ``tokens(shape)``
    (``LaysTokens``), as kdlab's ``Transformer`` does. Every value of an input carries its token's relevance, so that a
    patch is one colour; a value of no token has 0.

    Args:
        model: A classifier with ``nn.MultiheadAttention`` layers and a method ``tokens``.
        layers: Their paths, the first layer first.
        query: The token that the head reads, e.g. 0 for a class token; None for the mean over all.

    Raises:
        ValueError: If no layer is named.
        KeyError: If the model has no such layer.
        TypeError: If a layer has no attention weights, or the model does not say what its tokens stand for.
    """

    multiplies_by_inputs: bool = True
    differentiable: bool = True

    def __init__(self, model: nn.Module, layers: Sequence[str], query: int | None = None) -> None:
        if not layers:
            raise ValueError("rollout needs the attention layers of the model, the first one first; name at least one")
        for layer in layers:
            if not isinstance(find_layer(model, layer.partition("#")[0]), nn.MultiheadAttention):
                raise TypeError(f"layer {layer!r} is no nn.MultiheadAttention; rollout needs its weights")
        bare = model.module if isinstance(model, DistributedDataParallel) else model
        if not isinstance(bare, LaysTokens):
            raise TypeError(
                f"{type(bare).__name__} does not say which place of the input a token stands for; give it a method "
                "tokens(shape) that returns the token's number of each value of one input, int64 of that shape and -1 "
                "for none: torch.arange(steps)[:, None].expand(shape) for sequences (steps, channels)"
            )
        self.model, self.query, self.layout = model, query, bare
        self.names = [f"{layer}:weights" for layer in layers]

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Return relevances in the inputs' shape, >= 0; the class only has to exist, for it changes nothing."""
        with explaining(self.model) as keep_graph, torch.set_grad_enabled(keep_graph):
            with capture(self.model, self.names) as captured:
                chosen_class(self.model(inputs.clone()), target)
            heads = [weights.mean(dim=1) for weights in captured.ordered(self.names)]
            identity = torch.eye(heads[0].shape[-1]).to(heads[0])
            rolled = (heads[0] + identity) / 2
            for attention in heads[1:]:
                rolled = (attention + identity) / 2 @ rolled
            read = rolled.mean(dim=1) if self.query is None else rolled[:, self.query]
            return self._lay(read, inputs)

    def _lay(self, relevance: Tensor, inputs: Tensor) -> Tensor:
        """Give every value of the inputs the relevance (batch, tokens) of its token."""
        places = self.layout.tokens(tuple(inputs.shape[1:])).to(inputs.device)
        low, high = int(places.min()), int(places.max())
        if places.shape != inputs.shape[1:] or not -1 <= low <= high < relevance.shape[1]:
            raise ValueError(
                f"{type(self.layout).__name__}.tokens gives numbers {low} to {high} in shape {tuple(places.shape)} for "
                f"{relevance.shape[1]} tokens and inputs of {tuple(inputs.shape[1:])}; it must give a token's number, "
                "or -1, for each value"
            )
        laid = relevance[:, places.clamp_min(0).flatten()] * (places >= 0).flatten()
        return laid.reshape(inputs.shape)
