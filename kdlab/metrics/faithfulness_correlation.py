"""Faithfulness correlation: does an attribution foretell what a random subset's removal costs."""

import torch
from torch import Tensor

from kdlab.metrics.base import PerSample
from kdlab.metrics.checks import check_positive, check_share, expand_baseline
from kdlab.metrics.contributions import contributions
from kdlab.metrics.masking import draw_subsets, masked_scores
from kdlab.metrics.numerics import pearson, spearman, top_count
from kdlab.metrics.scorer import Model, Scorer


def faithfulness_correlation(
    model: Model,
    inputs: Tensor,
    attributions: Tensor,
    explained: Tensor,
    baseline: Tensor,
    subsets: Tensor,
    *,
    ranked: bool = False,
    on_logits: bool = True,
    multiplies_by_inputs: bool = True,
    chunk: int | None = None,
) -> Tensor:
    """Return ``corr_S(sum_{i in S} a_i, f(x) - f(x with S at the baseline))``: (batch,), NaN where either is constant.

    Args:
        model: Inputs (batch, ...) -> logits (batch, classes).
        inputs: (batch, ...).
        attributions: The inputs' shape.
        explained: (batch,), the class explained.
        baseline: Shape of one input, or broadcastable to the inputs.
        subsets: (draws, features) bool for all samples, or (batch, draws, features) for each its own.
        ranked: Spearman's correlation instead of Pearson's.
        on_logits: The logit of the class; else its probability.
        multiplies_by_inputs: Whether attributions are contributions as they stand; else slopes, which are summed times
            the input's distance to the baseline.
        chunk: Rows computed at once, by default by activation bytes.

    Raises:
        ValueError: If shapes do not fit, or the explained class is none of the model's.
    """
    values = contributions(attributions, inputs, baseline, multiplies_by_inputs)
    present, absent = inputs.detach().flatten(1), expand_baseline(baseline, inputs).detach().flatten(1)
    if subsets.shape[-1] != present.shape[1] or (subsets.dim() == 3 and subsets.shape[0] != present.shape[0]):
        raise ValueError(f"subsets {tuple(subsets.shape)} do not fit inputs {tuple(inputs.shape)}")
    members = subsets.to(values)
    sums = values @ members.T if members.dim() == 2 else (members @ values.unsqueeze(2)).squeeze(2)
    scores = masked_scores(Scorer(model, inputs, explained, on_logits, chunk), present, absent, subsets)
    # f(x) is the same in all draws: the correlation with the drop is that with -f(x_S), and nothing cancels.
    return (spearman if ranked else pearson)(sums, -scores)


class FaithfulnessCorrelation(PerSample):
    """Correlation, over random subsets S, of ``sum_{i in S} a_i`` with ``f(x) - f(x with S at the baseline)``: [-1, 1].

    Higher is better. f is the logit of the explained class by default: a probability saturates. a are contributions;
    slopes (``multiplies_by_inputs`` False) are multiplied by the input's distance to the baseline, and who says nothing
    hands in contributions. Subsets of one size are drawn once and shared by all samples. NaN where the attribution's
    sums or the scores are constant, as for a single feature. Bhatt et al. 2020, "faithfulness",
    https://arxiv.org/abs/2005.00631.

    Args:
        draws: How many subsets.
        share: Their size, as a part of the features, in (0, 1]; rounded up.
        ranked: Spearman's correlation instead of Pearson's.
        on_logits: The logit of the explained class; else its probability.
        seed: Of the draws.
        chunk: Rows computed at once; by default as many as the activations' bytes allow.

    Raises:
        ValueError: If a number is out of range.
    """

    higher_is_better = True

    def __init__(
        self,
        draws: int = 100,
        share: float = 0.2,
        ranked: bool = False,
        on_logits: bool = True,
        seed: int = 0,
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        check_positive(draws=draws, chunk=chunk)
        check_share(share=share)
        self.draws = draws
        self.share = share
        self.ranked = ranked
        self.on_logits = on_logits
        self.seed = seed
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
        features = torch.Size(inputs.shape[1:]).numel()
        subsets = draw_subsets(self.draws, features, top_count(self.share, features), self.seed)
        scores = faithfulness_correlation(
            model,
            inputs,
            attributions,
            explained,
            baseline,
            subsets,
            ranked=self.ranked,
            on_logits=self.on_logits,
            multiplies_by_inputs=multiplies_by_inputs,
            chunk=self.chunk,
        )
        self.add(scores)
