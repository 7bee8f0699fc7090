"""Maps of different sizes brought together."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

POOLS: dict[int, Callable[[Tensor, Any], Tensor]] = {  # the size is an int in one of them, a tuple in the others
    3: F.adaptive_avg_pool1d,
    4: F.adaptive_avg_pool2d,
    5: F.adaptive_avg_pool3d,
}


def pooled(layer: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return a layer (batch, channels, positions...) average-pooled to the given positions."""
    return layer if tuple(layer.shape[2:]) == size else POOLS[layer.ndim](layer, size)


def pooled_alike(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return both layers average-pooled to the smaller of their sizes, along each axis.

    Raises:
        ValueError: If a layer is not of shape (batch, channels, positions...), with as many axes in both.
    """
    if student.ndim != teacher.ndim or student.ndim not in POOLS:
        raise ValueError(
            f"features of shape {tuple(student.shape)} and teacher_features of shape {tuple(teacher.shape)} are not "
            "both (batch, channels, positions...)"
        )
    size = tuple(min(ours, theirs) for ours, theirs in zip(student.shape[2:], teacher.shape[2:], strict=True))
    return pooled(student, size), pooled(teacher, size)
