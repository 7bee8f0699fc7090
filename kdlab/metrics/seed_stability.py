"""Stability of explanations over training runs."""

from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from torch import Tensor

from kdlab.metrics.checks import check_same_shape
from kdlab.metrics.numerics import rows, spearman


def seed_stability(attributions: Sequence[Tensor], similarity: Callable[[Tensor, Tensor], Tensor] = spearman) -> Tensor:
    """Return the mean similarity over all pairs of runs: (batch,), higher is steadier; NaN where a pair has none.

    Args:
        attributions: One (batch, ...) tensor a run, of the same inputs in the same order and for the same class, two
            runs or more.
        similarity: Of two (batch, features) tensors, row by row; rank correlation by default.

    Raises:
        ValueError: If there are fewer than two runs, or their shapes differ.
    """
    if len(attributions) < 2:
        raise ValueError(f"stability needs the attributions of two runs or more, got {len(attributions)}")
    for run in attributions[1:]:
        check_same_shape(first=attributions[0], another=run)
    runs = [rows(run) for run in attributions]
    return torch.stack([similarity(first, other) for first, other in combinations(runs, 2)]).mean(dim=0)
