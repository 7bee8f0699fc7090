"""Comprehensiveness and sufficiency: are the top features needed, and do they suffice."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kdlab.metrics.base import PerSample
from kdlab.metrics.checks import check_attributions, check_positive, check_share, expand_baseline
from kdlab.metrics.numerics import rows, top_count
from kdlab.metrics.removal import order, units_of, walk
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
        patch: See ``kdlab.metrics.removal.units_of``.
        on_logits: The logit of the class; else its probability.
        chunk: Rows computed at once, by default by activation bytes.

    Raises:
        ValueError: If shapes do not fit, or the explained class is none of the model's.
    """
    check_attributions(attributions, inputs)
    present, absent = inputs.detach().flatten(1), expand_baseline(baseline, inputs).detach().flatten(1)
    ranks, known, count = order(rows(attributions), units_of(inputs.shape[1:], patch))
    sizes = [top_count(share, count) for share in shares]
    start, end, whole = (absent, present, count) if keep else (present, absent, 0)
    scores = walk(Scorer(model, inputs, explained, on_logits, chunk), start, end, ranks, torch.tensor([whole, *sizes]))
    return (scores[:, :1] - scores[:, 1:]).mean(dim=1).masked_fill(~known, torch.nan)


class Comprehensiveness(PerSample):
    """Mean drop of the score when the top features go to the baseline: [-1, 1], higher is better.

    ``mean_q f(x) - f(x without the top q)``, f the probability of the explained class; with ``on_logits`` the logit,
    without bounds. NaN where the attribution gives no order. DeYoung et al. 2020 (ERASER), "comprehensiveness",
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

    def update(self, model: Model, inputs: Tensor, attributions: Tensor, explained: Tensor, baseline: Tensor) -> None:
        """Take in inputs (batch, ...), attributions of that shape, explained (batch,), baseline of one input's shape.

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
            chunk=self.chunk,
        )
        self.add(scores)


class Sufficiency(Comprehensiveness):
    """Mean drop of the score when the top features alone are left: [-1, 1], lower is better.

    ``mean_q f(x) - f(x with the top q alone)``. Arguments and source as for ``Comprehensiveness``.
    """

    higher_is_better = False
    keep = True
