"""Subsets of features put to the baseline, drawn once and shared by all samples, and what the model says then."""

import torch
from torch import Tensor

from kdlab.metrics.numerics import generator_of
from kdlab.metrics.scorer import Scorer


def draw_subsets(draws: int, features: int, size: int, seed: int) -> Tensor:
    """Return so many random subsets of that size: (draws, features) bool, the same for the same numbers."""
    noise = torch.rand(draws, features, generator=generator_of(seed))
    chosen = noise.argsort(dim=1)[:, :size]
    return torch.zeros(draws, features, dtype=torch.bool).scatter_(1, chosen, True)


def masked_scores(scorer: Scorer, present: Tensor, absent: Tensor, masks: Tensor) -> Tensor:
    """Return f with the masked features at the baseline: (batch, draws).

    Args:
        scorer: f.
        present: (batch, features), the inputs.
        absent: (batch, features), the baseline.
        masks: (draws, features) bool for all samples, or (batch, draws, features) for each its own; True goes to the
            baseline.
    """
    table = masks.to(present.device)
    table = table.unsqueeze(0) if table.dim() == 2 else table
    shared = table.shape[0] == 1

    def build(samples: slice, draws: slice) -> Tensor:
        gone = table[:, draws] if shared else table[samples, draws]
        return torch.where(gone, absent[samples].unsqueeze(1), present[samples].unsqueeze(1))

    return scorer.versions(table.shape[1], build)
