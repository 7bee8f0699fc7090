"""Arithmetic that stays finite where the textbook formula does not, and the checks at the door of every loss."""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

Features: TypeAlias = Tensor | Sequence[Tensor]
"""The outputs of several layers, in order; a tensor alone counts as one layer."""

#: A vector no longer than this counts as zero.
FLOOR = 1e-12


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return half precision as float32 and everything else as it is."""
    return tensor.float() if tensor.is_floating_point() and tensor.element_size() < 4 else tensor


def full_precision(tensor: Tensor) -> torch.autocast:
    """Return a context without autocast, which would lower matrix products of lifted tensors to half again."""
    return torch.autocast(tensor.device.type, enabled=False)


def length(vectors: Tensor, dim: int = -1, floor: float | Tensor = FLOOR) -> Tensor:
    """Return Euclidean lengths, with ``dim`` kept as 1; a vector no longer than ``floor`` counts as of length 1.

    A quotient by it is then about zero for a dead vector, with a gradient of ordinary size instead of 1 / floor.
    """
    square = vectors.square().sum(dim, keepdim=True)
    return torch.where(square > floor**2, square, torch.ones_like(square)).sqrt()


def dead(maps: Tensor) -> Tensor:
    """Return whether each map (batch, ...) says nothing, (batch,): its Euclidean length is no more than 1e-12.

    It is the length below which ``unit`` gives no direction, so a loss of explanations has nothing to compare there.
    """
    return at_least_float32(maps).detach().flatten(1).square().sum(1) <= FLOOR**2


def unit(vectors: Tensor, dim: int = -1) -> Tensor:
    """Return vectors of length 1 along ``dim``; dead ones stay about zero."""
    return vectors / length(vectors, dim)


def norm(vectors: Tensor, dim: int = -1) -> Tensor:
    """Return Euclidean lengths along ``dim``, whose gradient at zero is zero."""
    square = vectors.square().sum(dim)
    alive = square > 0
    return torch.where(alive, torch.where(alive, square, torch.ones_like(square)).sqrt(), torch.zeros_like(square))


def centred(values: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return the deviations from the mean along ``dim``, and the length below which they are rounding errors only."""
    count = values.shape[dim]
    largest = values.detach().abs().amax(dim, keepdim=True)
    return values - values.mean(dim, keepdim=True), 4 * torch.finfo(values.dtype).eps * count**0.5 * largest + 1e-30


def correlation(first: Tensor, second: Tensor, dim: int, epsilon: float = 1e-8) -> Tensor:
    """Return Pearson correlations along ``dim``, in [-1, 1]; with a constant they are zero.

    ``epsilon`` is added to the product of the two lengths.
    """
    first, first_floor = centred(first, dim)
    second, second_floor = centred(second, dim)
    lengths = length(first, dim, first_floor) * length(second, dim, second_floor)
    return (first * second).sum(dim) / (lengths.squeeze(dim) + epsilon)


def check_alike(**tensors: Tensor) -> None:
    """Refuse tensors of different shapes.

    Raises:
        ValueError: With every name and shape.
    """
    if len({tensor.shape for tensor in tensors.values()}) > 1:
        shapes = " and ".join(f"{name} of shape {tuple(tensor.shape)}" for name, tensor in tensors.items())
        raise ValueError(f"{shapes} do not match")


def as_list(features: Features) -> list[Tensor]:
    """Return the layers' outputs in at least float32."""
    return [at_least_float32(layer) for layer in ([features] if isinstance(features, Tensor) else features)]


def paired(features: Features, teacher_features: Features) -> list[tuple[Tensor, Tensor]]:
    """Return the student's and the teacher's layers side by side, in at least float32.

    Raises:
        ValueError: If there is none, if one side has more, or if a pair differs in its number of samples.
    """
    student, teacher = as_list(features), as_list(teacher_features)
    if len(student) != len(teacher) or not student:
        raise ValueError(f"{len(student)} layers of features and {len(teacher)} of teacher_features do not match")
    for ours, theirs in zip(student, teacher, strict=True):
        if ours.shape[:1] != theirs.shape[:1]:
            check_alike(features=ours, teacher_features=theirs)
    return list(zip(student, teacher, strict=True))


def total(values: list[Tensor]) -> Tensor:
    """Return the sum of scalars, of which there is at least one."""
    return torch.stack(values).sum()


def parameter_dtype(module: nn.Module) -> torch.dtype:
    """Return the dtype of a module's first parameter, which is half where the whole training is in half precision."""
    return next(module.parameters()).dtype


def through(module: nn.Module, tensor: Tensor) -> Tensor:
    """Return a module's output in at least float32, whatever the dtype of its parameters."""
    return at_least_float32(module(tensor.to(parameter_dtype(module))))
