"""Samples as vectors, and how far apart they are."""

from collections.abc import Callable

import torch
from torch import Tensor

from kdlab.losses.gather import gathered
from kdlab.losses.numerics import Features, full_precision, paired, total


def related(features: Features, teacher_features: Features, compare: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the sum over the layer pairs of what ``compare`` makes of them: a scalar in the layers' precision.

    What samples have to do with each other is a small difference of large inner products where they stand close
    together or far from the origin, of which float32 leaves nothing; so it is computed in float64, which is batch^2 *
    width beside a network's forward.

    Args:
        features, teacher_features: layers of shape (batch, ...).
        compare: from two (batch, width), float64, of flattened layers with the samples of all processes, to a scalar.
    """
    pairs = paired(features, teacher_features)
    flat = gathered(*(layer.flatten(1) for pair in pairs for layer in pair))
    with full_precision(flat[0]):
        wide = [vectors.double() for vectors in flat]
        values = [compare(student, teacher) for student, teacher in zip(wide[::2], wide[1::2], strict=True)]
    return total(values).to(pairs[0][0].dtype)


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
