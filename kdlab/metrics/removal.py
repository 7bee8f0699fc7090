"""Orders in which features are removed or added, and the curves that the model's score draws on the way."""

from collections.abc import Callable

import torch
from torch import Tensor

from kdlab.metrics.base import PerSample
from kdlab.metrics.checks import check_attributions, check_positive, expand_baseline
from kdlab.metrics.numerics import rows
from kdlab.metrics.scorer import Model, Scorer


def units_of(shape: torch.Size, patch: int | None) -> Tensor | None:
    """Return which unit each feature belongs to: (features,), or None where every feature is its own.

    Args:
        shape: Shape of one input.
        patch: None for single features. For images (channels, height, width): a unit is a square of so many pixels a
            side, all channels of it; squares at the right and lower edge may be smaller.

    Raises:
        ValueError: If there is a patch and the input is no image.
    """
    if patch is None:
        return None
    if len(shape) != 3:
        raise ValueError(f"patch needs images (batch, channels, height, width); one input is {tuple(shape)}")
    channels, height, width = shape
    down, right = torch.arange(height) // patch, torch.arange(width) // patch
    squares = down[:, None] * (-(-width // patch)) + right[None, :]
    return squares.expand(channels, height, width).reshape(-1)


def order(relevance: Tensor, units: Tensor | None = None) -> tuple[Tensor, Tensor, int]:
    """Rank the features of each row of (batch, features), the most relevant unit first.

    Equal relevances keep the features' order, which is arbitrary: where all units are equal there is no order.

    Args:
        relevance: (batch, features).
        units: From ``units_of``; a unit's relevance is the sum over its features.

    Returns:
        ranks: (batch, features), 0 for the most relevant unit.
        known: (batch,) bool, whether the attribution says an order: finite, and not the same for all of several units.
        count: The number of units.
    """
    if units is not None:
        units = units.to(relevance.device)
        count = int(units.max()) + 1
        relevance = relevance.new_zeros(relevance.shape[0], count).index_add_(1, units, relevance)
    count = relevance.shape[1]
    positions = torch.arange(count, device=relevance.device).expand_as(relevance)
    first = relevance.argsort(dim=1, descending=True, stable=True)
    ranks = torch.empty_like(positions).scatter_(1, first, positions).to(torch.int32)
    known = relevance.isfinite().all(dim=1)
    if count > 1:
        known &= relevance.amax(dim=1) > relevance.amin(dim=1)
    return (ranks if units is None else ranks[:, units]), known, count


def removal_counts(units: int, steps: int, units_per_step: int | None) -> Tensor:
    """Return how many units are gone at each point of a curve: 0, s, 2s, ..., units.

    Args:
        units: How many there are.
        steps: At most so many steps, if ``units_per_step`` is None.
        units_per_step: s, how many go at once; the last step may be shorter.
    """
    size = units_per_step or -(-units // steps)
    return torch.arange(0, units + size, size).clamp(max=units)


def walk(scorer: Scorer, start: Tensor, end: Tensor, ranks: Tensor, counts: Tensor) -> Tensor:
    """Return f on the way from ``start`` to ``end``, the features of lowest rank going first: (batch, points).

    Args:
        scorer: f.
        start: (batch, features).
        end: (batch, features).
        ranks: (batch, features) from ``order``.
        counts: (points,), how many ranks have gone at each point.
    """
    limits = counts.to(device=ranks.device, dtype=ranks.dtype).view(1, -1, 1)

    def build(samples: slice, points: slice) -> Tensor:
        gone = ranks[samples].unsqueeze(1) < limits[:, points]
        return torch.where(gone, end[samples].unsqueeze(1), start[samples].unsqueeze(1))

    return scorer.versions(counts.shape[0], build)


def area(curve: Tensor) -> Tensor:
    """Return the trapezoid area under each row of (batch, points), both ends included, divided by the steps."""
    return (curve.sum(dim=1) - (curve[:, 0] + curve[:, -1]) / 2) / (curve.shape[1] - 1)


def removal_curve(
    model: Model,
    inputs: Tensor,
    attributions: Tensor,
    explained: Tensor,
    baseline: Tensor,
    *,
    steps: int = 32,
    units_per_step: int | None = None,
    patch: int | None = None,
    on_logits: bool = False,
    insert: bool = False,
    relevance: Callable[[Tensor], Tensor] | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Return the class's score while features go, the most relevant first: (batch, points), NaN without an order.

    The first point is the unchanged input (with ``insert`` the baseline), the last the baseline (the input).

    Args:
        model: Inputs (batch, ...) -> logits (batch, classes).
        inputs: (batch, ...).
        attributions: The inputs' shape; signed, the largest go first.
        explained: (batch,), the class explained.
        baseline: Shape of one input, or broadcastable to the inputs.
        steps: At most so many steps, if ``units_per_step`` is None.
        units_per_step: How many units go at once; the last step may be shorter.
        patch: See ``units_of``.
        on_logits: The logit of the class; else its probability.
        insert: Walk from the baseline to the input.
        relevance: What of the attributions (batch, features) says the order; by default they do.
        chunk: Rows computed at once, by default by activation bytes.

    Raises:
        ValueError: If shapes do not fit, or the explained class is none of the model's.
    """
    check_attributions(attributions, inputs)
    present, absent = inputs.detach().flatten(1), expand_baseline(baseline, inputs).detach().flatten(1)
    values = rows(attributions)
    ranks, known, count = order(values if relevance is None else relevance(values), units_of(inputs.shape[1:], patch))
    start, end = (absent, present) if insert else (present, absent)
    counts = removal_counts(count, steps, units_per_step)
    curve = walk(Scorer(model, inputs, explained, on_logits, chunk), start, end, ranks, counts)
    return curve.masked_fill(~known.unsqueeze(1), torch.nan)


class Removal(PerSample):
    """What metrics over a removal curve share: how it is walked.

    Args:
        steps: At most so many steps; inputs with more features lose several at once.
        units_per_step: Instead of ``steps``: how many features (or patches) go at once.
        patch: For images: squares of so many pixels a side go as one, all channels. By default every value is alone.
        on_logits: Score the logit instead of the probability. On logits a model wins by shrinking them.
        chunk: Rows computed at once; by default as many as the activations' bytes allow.

    Raises:
        ValueError: If a number is not positive.
    """

    def __init__(
        self,
        steps: int = 32,
        units_per_step: int | None = None,
        patch: int | None = None,
        on_logits: bool = False,
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        check_positive(steps=steps, units_per_step=units_per_step, patch=patch, chunk=chunk)
        self.steps = steps
        self.units_per_step = units_per_step
        self.patch = patch
        self.on_logits = on_logits
        self.chunk = chunk

    def curve(
        self,
        model: Model,
        inputs: Tensor,
        attributions: Tensor,
        explained: Tensor,
        baseline: Tensor,
        insert: bool = False,
        relevance: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Return the curve of a batch: (batch, points). See ``removal_curve``."""
        return removal_curve(
            model,
            inputs,
            attributions,
            explained,
            baseline,
            steps=self.steps,
            units_per_step=self.units_per_step,
            patch=self.patch,
            on_logits=self.on_logits,
            insert=insert,
            relevance=relevance,
            chunk=self.chunk,
        )
