"""Which pairs of features interact in a model, and what of a pair's part is interaction."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdlab.explainers.base import chosen_class, pieces
from kdlab.losses.gather import gathered
from kdlab.metrics.interaction_strength import two_way
from kdlab.signals.outputs import logits_of

# Samples that the model is asked for at once where nothing tells how many it can take.
ROWS = 64


def first_samples(loader: Iterable[Mapping[str, Any]], count: int) -> Tensor:
    """Return at least ``count`` of a loader's ``inputs``, or all there are, those of all processes.

    Raises:
        ValueError: If there is no batch.
    """
    batches: list[Tensor] = []
    for batch in loader:
        batches.append(batch["inputs"])
        if sum(map(len, batches)) >= count:
            break
    if not batches:
        raise ValueError("the loader gave no batch to find interactions in")
    return gathered(torch.cat(batches))[0]


def ranked_pairs(model: nn.Module, inputs: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pairs of features by how strongly they interact in the model, strongest first, and how strongly.

    The strength is the root mean square over samples x and over two contexts of the mixed difference ``f(x_i, x_j) -
    f(x'_i, x_j) - f(x_i, x'_j) + f(x'_i, x'_j)``: x' is the samples' mean, the contexts leave the other features at x
    and put them to x'. f is the logit of the model's own class minus the mean over classes. It is 0 where f is additive
    in the two. Tsang et al. 2020 (ArchDetect), section 4.1, https://arxiv.org/abs/2006.10965, without its division by
    distances. Costs ``samples * candidates^2`` forwards; draws nothing, and equal strengths keep the features' order.

    Args:
        model: In eval mode, inputs (batch, ...) -> logits (batch, classes).
        inputs: (samples, ...).
        candidates: (features,), which may be paired.

    Returns:
        (pairs, 2) features of the flattened inputs, the smaller number first, and (pairs,) strengths, in logits.
    """

    def centred(rows: Tensor) -> Tensor:
        logits = logits_of(model(rows))
        return logits - logits.mean(dim=1, keepdim=True)

    with torch.no_grad():
        explained = torch.cat([chosen_class(centred(part), None) for part in pieces(inputs, ROWS)])
    pairs = torch.combinations(candidates.sort().values, 2)
    absent = inputs.mean(dim=0).expand_as(inputs)
    contexts = [
        two_way(centred, here, explained, other, pairs)[0] for here, other in [(inputs, absent), (absent, inputs)]
    ]
    strength = torch.cat(contexts).mean(dim=0).sqrt()
    order = strength.argsort(descending=True, stable=True)
    return pairs[order.to(pairs.device)], strength[order]


def grid(first: Tensor, second: Tensor) -> Tensor:
    """Return all combinations of the values (points, pairs) of two features: (points * points, pairs, 2)."""
    points, pairs = first.shape
    sides = first[:, None].expand(-1, points, -1), second[None].expand(points, -1, -1)
    return torch.stack(sides, dim=3).reshape(points * points, pairs, 2)


def pure(parts: Tensor) -> Tensor:
    """Return what of pairs' parts on a ``grid`` no sum of two single parts says.

    ``f - mean over the first - mean over the second + mean over both``, the interaction of the functional analysis of
    variance with independent features: Hooker 2004, https://doi.org/10.1145/1014052.1014122.

    Args:
        parts: (points * points, pairs, classes).

    Returns:
        (points, points, pairs, classes), the first feature's value by the first axis.
    """
    points = round(len(parts) ** 0.5)
    square = parts.reshape(points, points, *parts.shape[1:])
    rows, columns = square.mean(dim=0, keepdim=True), square.mean(dim=1, keepdim=True)
    return square - rows - columns + square.mean(dim=(0, 1), keepdim=True)


def assigned(slots: Tensor, ranked: Tensor) -> Tensor:
    """Return which pair each slot holds next: (slots, 2).

    A slot keeps its pair while that is among the strongest twice as many as there are slots, so that pairs of nearly
    equal strength do not throw each other out at every turn; the others take the strongest that are left.

    Args:
        slots: (slots, 2), the pairs held, -1 where none is yet.
        ranked: (pairs, 2), strongest first; where they are fewer than the slots, some stay empty.
    """
    best = [tuple(pair) for pair in ranked[: 2 * len(slots)].tolist()]
    held = [pair if pair in best else None for pair in map(tuple, slots.tolist())]
    free = iter([pair for pair in best if pair not in held])
    return slots.new_tensor([pair or next(free, (-1, -1)) for pair in held]).reshape(-1, 2)
