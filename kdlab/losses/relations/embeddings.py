"""Samples as vectors, and how far apart they are."""

import torch
from torch import Tensor

from kdlab.losses.gather import gathered
from kdlab.losses.numerics import Features, paired


def embeddings(features: Features, teacher_features: Features) -> list[tuple[Tensor, Tensor]]:
    """Return (batch, width) pairs of flattened layers, of the batch of all processes."""
    pairs = paired(features, teacher_features)
    flat = gathered(*(layer.flatten(1) for pair in pairs for layer in pair))
    return list(zip(flat[::2], flat[1::2], strict=True))


def products(vectors: Tensor) -> Tensor:
    """Return the inner products (batch, batch) of centred vectors, in which differences keep their precision."""
    deviations = vectors - vectors.detach().mean(0)
    return deviations @ deviations.T


def distances(inner: Tensor) -> Tensor:
    """Return Euclidean distances (batch, batch) from inner products; zero, with gradient zero, for equal vectors."""
    square = inner.diagonal()
    apart = square[:, None] + square - 2 * inner
    # What rounding leaves of the difference of equal vectors is no distance
    rounding = 8 * torch.finfo(inner.dtype).eps * (square[:, None] + square).detach()
    alive = (apart > rounding + 1e-30) & ~torch.eye(len(inner), dtype=torch.bool, device=inner.device)
    return torch.where(alive, torch.where(alive, apart, torch.ones_like(apart)).sqrt(), torch.zeros_like(apart))
