"""How attention passes from the inputs' tokens to the last layer."""

from collections.abc import Sequence
from math import isqrt

import torch
from torch import Tensor, nn

from kdlab.capture import capture, find_layer
from kdlab.explainers.base import chosen_class, explaining
from kdlab.explainers.spatial import as_inputs


class AttentionRollout:
    """Product of the layers' attention, each mixed half and half with its residual path.

    ``R = (A_L + I)/2 ... (A_1 + I)/2`` with A_l the mean over heads; a token's relevance is its column of R, of one
    query or the mean over all. It says where the model looked and is the same for every class. Abnar & Zuidema 2020,
    equations 1 and 2, https://arxiv.org/abs/2005.00928. Sequences (batch, tokens, channels) carry a token's
    relevance in all its channels; images (batch, channels, height, width) that of the patch, stretched over the grid.

    Args:
        model: A classifier with ``nn.MultiheadAttention`` layers.
        layers: Their paths, the first layer first.
        query: The token that the head reads, e.g. 0 for a class token; None for the mean over all.
        prefix: Tokens in front of the inputs' own, e.g. 1 for a class token.

    Raises:
        ValueError: If no layer is named, or prefix is negative.
        KeyError: If the model has no such layer.
        TypeError: If a layer has no attention weights.
    """

    multiplies_by_inputs: bool = True
    differentiable: bool = True

    def __init__(self, model: nn.Module, layers: Sequence[str], query: int | None = None, prefix: int = 0) -> None:
        if not layers or prefix < 0:
            raise ValueError(f"name at least one layer and a prefix >= 0, got {list(layers)} and {prefix}")
        for layer in layers:
            if not isinstance(find_layer(model, layer.partition("#")[0]), nn.MultiheadAttention):
                raise TypeError(f"layer {layer!r} is no nn.MultiheadAttention; rollout needs its weights")
        self.model, self.query, self.prefix = model, query, prefix
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
            return self._lay(read[:, self.prefix :], inputs)

    def _lay(self, relevance: Tensor, inputs: Tensor) -> Tensor:
        tokens = relevance.shape[1]
        if inputs.dim() == 3 and inputs.shape[1] == tokens:
            return relevance[:, :, None].expand_as(inputs)
        side = isqrt(tokens)
        if inputs.dim() == 4 and side * side == tokens:
            return as_inputs(relevance.reshape(-1, 1, side, side), inputs)
        raise ValueError(
            f"{tokens} tokens after {self.prefix} in front do not fit inputs of shape {tuple(inputs.shape)}"
        )
