"""Comprehensiveness and sufficiency: are the top features needed, and do they suffice."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kdlab.metrics.base import PerSample
from kdlab.metrics.checks import check_positive, check_share, expand_baseline
from kdlab.metrics.contributions import contributions
from kdlab.metrics.numerics import top_count
from kdlab.metrics.order import order, units_of
from kdlab.metrics.removal import fair_walk
from kdlab.metrics.scorer import Model, Scorer


def erasure(
    model: Model,
    inputs: Tensor,
    attributions: Tensor,
    explained: Tensor,
    baseline: Tensor,
    *,
    shares: Sequence[float],
    keep: bool,
    patch: int | None = None,
    on_logits: bool = False,
    multiplies_by_inputs: bool = True,
    chunk: int | None = None,
) -> Tensor:
    """Return the mean over shares of ``f(x) - f(x')``: (batch,), NaN where the attribution gives no order.

    Args:
        model: Inputs (batch, ...) -> logits (batch, classes).
        inputs: (batch, ...).
        attributions: The inputs' shape; signed.
        explained: (batch,), the class explained.
        baseline: Shape of one input, or broadcastable to the inputs.
        shares: What parts of the features, the most relevant, x' has lost, or with ``keep`` has alone; rounded up.
        keep: x' keeps these features and loses the rest.
        patch: See ``kdlab.metrics.order.units_of``.
        on_logits: The logit of the class; else its probability.
        multiplies_by_inputs: Whether attributions are contributions as they stand; else slopes, which count times the
            input's distance to the baseline.
        chunk: Rows computed at once, by default by activation bytes.

    Raises:
        ValueError: If shapes do not fit, or the explained class is none of the model's.
    """
    values = contributions(attributions, inputs, baseline, multiplies_by_inputs)
    present, absent = inputs.detach().flatten(1), expand_baseline(baseline, inputs).detach().flatten(1)
    ordered = order(values, units_of(inputs.shape[1:], patch))
    sizes = [top_count(share, ordered.units) for share in shares]
    start, end, whole = (absent, present, ordered.units) if keep else (present, absent, 0)
    scorer = Scorer(model, inputs, explained, on_logits, chunk)
    scores = fair_walk(scorer, start, end, ordered, torch.tensor([whole, *sizes]))
    return (scores[:, :1] - scores[:, 1:]).mean(dim=1).masked_fill(~ordered.known, torch.nan)


class Comprehensiveness(PerSample):
    """Mean drop of the score when the top features go to the baseline: [-1, 1], higher is better.

    ``mean_q f(x) - f(x without the top q)``, f the probability of the explained class; with ``on_logits`` the logit,
    without bounds. Slopes are multiplied by the input's distance to the baseline, equal features go evenly: see
    ``Removal``. NaN where the attribution gives no order. DeYoung et al. 2020 (ERASER), "comprehensiveness",
    https://arxiv.org/abs/1911.03429.

    Args:
        shares: q, parts of the features, in (0, 1]; rounded up.
        patch: For images: squares of so many pixels a side go as one, all channels.
        on_logits: Score the logit instead of the probability.
        chunk: Rows computed at once; by default as many as the activations' bytes allow.

    Raises:
        ValueError: If there is no share, one is not in (0, 1], or a number is not positive.
    """

    higher_is_better = True
    keep = False

    def __init__(
        self,
        shares: Sequence[float] = (0.01, 0.05, 0.1, 0.2, 0.5),
        patch: int | None = None,
        on_logits: bool = False,
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        if not shares:
            raise ValueError("shares must name one part of the features or more, got none")
        for share in shares:
            check_share(shares=share)
        check_positive(patch=patch, chunk=chunk)
        self.shares = tuple(shares)
        self.patch = patch
        self.on_logits = on_logits
        self.chunk = chunk

    def update(
        self,
        model: Model,
        inputs: Tensor,
        attributions: Tensor,
        explained: Tensor,
        baseline: Tensor,
        multiplies_by_inputs: bool = True,
    ) -> None:
        """Take in inputs (batch, ...), attributions of that shape, explained (batch,), baseline of one input's shape.

        ``multiplies_by_inputs`` says whether attributions are contributions as they stand, or slopes.

        Raises:
            ValueError: If shapes do not fit, or the explained class is none of the model's.
        """
        scores = erasure(
            model,
            inputs,
            attributions,
            explained,
            baseline,
            shares=self.shares,
            keep=self.keep,
            patch=self.patch,
            on_logits=self.on_logits,
            multiplies_by_inputs=multiplies_by_inputs,
            chunk=self.chunk,
        )
        self.add(scores)


class Sufficiency(Comprehensiveness):
    """Mean drop of the score when the top features alone are left: [-1, 1], lower is better.

    ``mean_q f(x) - f(x with the top q alone)``. Arguments and source as for ``Comprehensiveness``.
    """

    higher_is_better = False
    keep = True
