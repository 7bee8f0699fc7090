"""The curves that the model's score draws while features are removed or added in the order of their relevance."""

from collections.abc import Callable

import torch
from torch import Tensor

from kdlab.metrics.base import PerSample
from kdlab.metrics.checks import check_positive, expand_baseline
from kdlab.metrics.contributions import contributions
from kdlab.metrics.order import Order, order, units_of
from kdlab.metrics.scorer import Model, Scorer


def removal_counts(units: int, steps: int, units_per_step: int | None) -> Tensor:
    """Return how many units are gone at each point of a curve: 0, s, 2s, ..., units.

    Args:
        units: How many there are.
        steps: At most so many steps, if ``units_per_step`` is None.
        units_per_step: s, how many go at once; the last step may be shorter.
    """
    size = units_per_step or -(-units // steps)
    return torch.arange(0, units + size, size).clamp(max=units)


def walk(scorer: Scorer, start: Tensor, end: Tensor, before: Tensor, limits: Tensor) -> Tensor:
    """Return f on the way from ``start`` to ``end``, the most relevant features going first: (batch, points).

    Args:
        scorer: f.
        start: (batch, features).
        end: (batch, features).
        before: (batch, features), see ``Order``.
        limits: (batch, points), how many units have gone at each point; equal ones go together.
    """
    table = limits.to(before).unsqueeze(2)

    def build(samples: slice, points: slice) -> Tensor:
        gone = before[samples].unsqueeze(1) < table[samples, points]
        return torch.where(gone, end[samples].unsqueeze(1), start[samples].unsqueeze(1))

    return scorer.versions(limits.shape[1], build)


def fair_walk(scorer: Scorer, start: Tensor, end: Tensor, ordered: Order, counts: Tensor) -> Tensor:
    """Return f when ``counts`` units have gone: (batch, points), the same however equal units are stored.

    Equal units have no order, and f is not known on all of their orders. They go together: between the point at which
    none of them is gone and that at which all are, f is taken to move evenly. For an additive f that is the expected
    value over all orders of equal units. No more than the points are computed, but for one a group of equal ones.

    Args:
        scorer: f.
        start: (batch, features).
        end: (batch, features).
        ordered: From ``order``.
        counts: (points,), how many units are gone at each point.
    """
    low, high = ordered.brackets(counts)
    ends, where = torch.cat([low, high], dim=1).sort(dim=1)
    place = torch.cat([torch.zeros_like(ends[:, :1]), (ends.diff(dim=1) != 0).to(ends)], dim=1).cumsum(dim=1)
    distinct = int(place.max()) + 1 if place.numel() > 0 else 0
    limits = torch.full((len(ends), distinct), ordered.units).to(ends).scatter_(1, place, ends)
    scores = walk(scorer, start, end, ordered.before, limits)
    both = scores.gather(1, torch.empty_like(place).scatter_(1, where, place))
    first, last = both[:, : len(counts)], both[:, len(counts) :]
    share = (counts.to(low) - low) / (high - low).clamp(min=1)
    between = torch.where(low == high, first, torch.lerp(first, last, share.to(first)))
    # Rounding must not leave the way, for whoever asks whether a curve falls.
    return between.clamp(torch.minimum(first, last), torch.maximum(first, last))


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
    multiplies_by_inputs: bool = True,
    chunk: int | None = None,
) -> Tensor:
    """Return the class's score while features go, the most relevant first: (batch, points), NaN without an order.

    The first point is the unchanged input (with ``insert`` the baseline), the last the baseline (the input). Equal
    features go evenly, see ``fair_walk``.

    Args:
        model: Inputs (batch, ...) -> logits (batch, classes).
        inputs: (batch, ...).
        attributions: The inputs' shape; signed, the largest go first.
        explained: (batch,), the class explained.
        baseline: Shape of one input, or broadcastable to the inputs.
        steps: At most so many steps, if ``units_per_step`` is None.
        units_per_step: How many units go at once; the last step may be shorter.
        patch: See ``kdlab.metrics.order.units_of``.
        on_logits: The logit of the class; else its probability.
        insert: Walk from the baseline to the input.
        relevance: What of the contributions (batch, features) says the order; by default they do.
        multiplies_by_inputs: Whether attributions are contributions as they stand; else slopes, which count times the
            input's distance to the baseline.
        chunk: Rows computed at once, by default by activation bytes.

    Raises:
        ValueError: If shapes do not fit, or the explained class is none of the model's.
    """
    values = contributions(attributions, inputs, baseline, multiplies_by_inputs)
    present, absent = inputs.detach().flatten(1), expand_baseline(baseline, inputs).detach().flatten(1)
    ordered = order(values if relevance is None else relevance(values), units_of(inputs.shape[1:], patch))
    start, end = (absent, present) if insert else (present, absent)
    counts = removal_counts(ordered.units, steps, units_per_step)
    curve = fair_walk(Scorer(model, inputs, explained, on_logits, chunk), start, end, ordered, counts)
    return curve.masked_fill(~ordered.known.unsqueeze(1), torch.nan)


class Removal(PerSample):
    """What metrics over a removal curve share: how it is walked.

    ``update`` takes contributions or, with ``multiplies_by_inputs`` False, slopes (a gradient), which are multiplied by
    the input's distance to the baseline before they are ranked or summed. Who says nothing hands in contributions;
    ``Evaluate`` says what the explainer claims. Equal features have no order: they go evenly (``fair_walk``), so that
    no score depends on where a feature is stored.

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
        multiplies_by_inputs: bool = True,
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
            multiplies_by_inputs=multiplies_by_inputs,
            chunk=self.chunk,
        )
