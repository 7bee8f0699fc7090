"""Splitting, shared by the data modules."""

from collections.abc import Sequence

import torch
from torch import Tensor


def stratified_order(target: Tensor, generator: torch.Generator) -> Tensor:
    """Order samples so that every beginning of the order is stratified.

    The k-th sample (from 0) of a class with n samples, in random order within the class, stands at k / n. The first of
    every class thus comes at the front, any beginning of length m holds about m * n / N of the class, and a longer
    beginning contains a shorter one.

    Args:
        target: Classes ``(N,)``; samples with -1 form a class of their own.
        generator: Draws the order within classes, and between classes at equal places.

    Returns:
        Row numbers ``(N,)``.
    """
    shuffled = torch.randperm(len(target), generator=generator)
    shuffled = shuffled[target[shuffled].argsort(stable=True)]
    counts = (target - target.min()).bincount()
    starts = counts.cumsum(0) - counts
    within = torch.arange(len(target)) - starts.repeat_interleave(counts)
    place = within.double() / counts.repeat_interleave(counts)
    ties = torch.randperm(len(target), generator=generator)
    return shuffled[ties[place[ties].argsort(stable=True)]]


def stratified_parts(target: Tensor, sizes: Sequence[int], generator: torch.Generator) -> list[Tensor]:
    """Cut the samples into stratified parts, rows ascending within each.

    A class with a single sample has it in the first part.

    Raises:
        ValueError: If a part would be empty or the sizes do not add up to the number of samples.
    """
    if sum(sizes) != len(target) or min(sizes) < 1:
        raise ValueError(f"{len(target)} samples cannot be split into parts of {list(sizes)}")
    order = stratified_order(target, generator)
    ends = [sum(sizes[: part + 1]) for part in range(len(sizes))]
    return [order[end - size : end].sort().values for end, size in zip(ends, sizes, strict=True)]


def sizes_of(samples: int, fractions: Sequence[float]) -> list[int]:
    """Return whole numbers in these proportions that add up to ``samples``.

    Raises:
        ValueError: If a fraction is not positive or they do not add up to 1.
    """
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"fractions must be positive and add up to 1, got {list(fractions)}")
    ends = [round(samples * sum(fractions[: part + 1])) for part in range(len(fractions))]
    return [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def take(tensors: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """Return those rows of every tensor."""
    return {name: tensor.index_select(0, rows) for name, tensor in tensors.items()}
