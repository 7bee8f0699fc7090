"""Numerics that metrics share: precision, correlations a row, ranks with ties, draws with an address."""

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """Lift half precision and integers to float32; leave float32 and float64 alone."""
    if tensor.dtype in (torch.float32, torch.float64):
        return tensor
    return tensor.to(torch.float32)


def rows(tensor: Tensor) -> Tensor:
    """Return the tensor as (batch, features), detached, in float32 or better."""
    return at_least_float32(tensor.detach()).flatten(1)


def varies(values: Tensor) -> Tensor:
    """Say for each row of (batch, n) whether its spread is more than rounding: (batch,) bool; False for NaN."""
    if values.shape[1] == 0:
        return torch.zeros(values.shape[0], dtype=torch.bool, device=values.device)
    low, high = values.aminmax(dim=1)
    return (high - low) > 32 * torch.finfo(values.dtype).eps * torch.maximum(low.abs(), high.abs())


def settled(values: Tensor, among: Tensor) -> Tensor:
    """Return (batch, n) values with the row's mean where ``among`` is False, which no correlation sees."""
    mean = torch.where(among, values, 0).sum(dim=1, keepdim=True) / among.sum(dim=1, keepdim=True)
    return torch.where(among, values, mean)


def pearson(first: Tensor, second: Tensor, among: Tensor | None = None) -> Tensor:
    """Return the correlation of two (batch, n) tensors row by row: (batch,), NaN where a row is constant.

    Args:
        first: (batch, n).
        second: (batch, n).
        among: (batch, n) bool, which values count; by default all.
    """
    if among is not None:
        first, second = settled(first, among), settled(second, among)
    centred = [values - values.mean(dim=1, keepdim=True) for values in (first, second)]
    # Scaled before it is squared: gradients of a saturated model square to zero in float32.
    scaled = [values / values.abs().amax(dim=1, keepdim=True) for values in centred]
    product = (scaled[0] * scaled[1]).sum(dim=1)
    value = product / (scaled[0].square().sum(dim=1) * scaled[1].square().sum(dim=1)).sqrt()
    return value.clamp(-1, 1).masked_fill(~(varies(first) & varies(second)), torch.nan)


def average_ranks(values: Tensor) -> Tensor:
    """Return the ranks of each row of (batch, n), from 1, ties sharing their mean rank; a row with a NaN gets NaN."""
    ordered = values.sort(dim=1).values
    below = torch.searchsorted(ordered, values.contiguous())
    not_above = torch.searchsorted(ordered, values.contiguous(), right=True)
    ranks = (below + not_above + 1).to(values.dtype) / 2
    return ranks.masked_fill(values.isnan().any(dim=1, keepdim=True), torch.nan)


def spearman(first: Tensor, second: Tensor, among: Tensor | None = None) -> Tensor:
    """Return the rank correlation of two (batch, n) tensors row by row: (batch,), NaN where a row is constant.

    Arguments as for ``pearson``.
    """
    if among is None:
        defined = varies(first) & varies(second)
        return pearson(average_ranks(first), average_ranks(second)).masked_fill(~defined, torch.nan)
    defined = varies(settled(first, among)) & varies(settled(second, among))
    # The largest of all leaves the ranks of the others as they are.
    ranks = [average_ranks(values.masked_fill(~among, torch.inf)) for values in (first, second)]
    return pearson(ranks[0], ranks[1], among).masked_fill(~defined, torch.nan)


def blank(scores: Tensor, defined: Tensor) -> Tensor:
    """Return the scores in float32 or better, with NaN where they are not defined."""
    return at_least_float32(scores).masked_fill(~defined, torch.nan)


def top_count(share: float, features: int) -> int:
    """Return how many features a share of them is: rounded up, at least one."""
    # The rounding guards against 0.1 * 10 = 1.0000000000000002 becoming two.
    return min(features, max(1, -int(-round(share * features, 9) // 1)))


def generator_of(seed: int) -> torch.Generator:
    """Return a fresh generator, for draws that every ``update`` repeats: a sample meets the same ones in any batch."""
    return torch.Generator().manual_seed(seed)
