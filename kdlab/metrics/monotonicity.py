"""Monotonicity: does the score rise when features come in the order of their importance."""

import torch
from torch import Tensor

from kdlab.metrics.contributions import contributions
from kdlab.metrics.faithfulness_estimate import ablation_scores
from kdlab.metrics.numerics import settled, spearman, varies
from kdlab.metrics.removal import Removal
from kdlab.metrics.scorer import Model, Scorer


def rises(curve: Tensor) -> Tensor:
    """Return for each step of (batch, points) whether the score does not fall: (batch, steps), NaN if all is flat."""
    return (curve.diff(dim=1) >= 0).to(curve.dtype).masked_fill(~varies(curve).unsqueeze(1), torch.nan)


def _importance(values: Tensor) -> Tensor:
    return -values.abs()


class MonotonicityFraction(Removal):
    """Share of steps at which the score does not fall while features come, the least important first: [0, 1].

    Higher is better. Features come from the baseline by ascending ``|a|``; the first point is the input with the first
    of them. f is the probability of the explained class. A model that is constant scores 1 and an attribution without
    an order, or with a single step, NaN. The graded form of ``Monotonicity``. See ``Removal`` for the arguments.
    """

    higher_is_better = True

    def steps_up(
        self,
        model: Model,
        inputs: Tensor,
        attributions: Tensor,
        explained: Tensor,
        baseline: Tensor,
        multiplies_by_inputs: bool,
    ) -> Tensor:
        """Return for each step whether the score does not fall: (batch, steps)."""
        curve = self.curve(
            model,
            inputs,
            attributions,
            explained,
            baseline,
            multiplies_by_inputs,
            insert=True,
            relevance=_importance,
        )
        return rises(curve[:, 1:])

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
        self.add(self.steps_up(model, inputs, attributions, explained, baseline, multiplies_by_inputs).mean(dim=1))


class Monotonicity(MonotonicityFraction):
    """Share of samples whose score never falls while features come, least important first: [0, 1], higher is better.

    A sample scores 1 or 0. With many features nearly every sample scores 0: see ``MonotonicityFraction``, whose order
    and arguments are these. Arya et al. 2019, "monotonicity", https://arxiv.org/abs/1909.03012; there by signed
    attributions.
    """

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
        fraction = self.steps_up(model, inputs, attributions, explained, baseline, multiplies_by_inputs).mean(dim=1)
        self.add((fraction == 1).to(fraction.dtype).masked_fill(fraction.isnan(), torch.nan))


class MonotonicityCorrelation(Removal):
    """Rank correlation, over features, of ``|a_i|`` with ``(f(x without i) - f(x))^2 / f(x)^2``: [-1, 1].

    Higher is better. One removal to the baseline in place of the expectation over random values. f is the probability
    of the explained class. Features are grouped as in ``FaithfulnessEstimate`` if there are more than ``steps``. NaN
    where either is constant. Nguyen and Martinez 2020, "monotonicity", https://arxiv.org/abs/2007.07584. See
    ``Removal`` for the arguments.
    """

    higher_is_better = True

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
        sizes = contributions(attributions, inputs, baseline, multiplies_by_inputs).abs()
        sums, scores, there = ablation_scores(
            model,
            inputs,
            sizes,
            explained,
            baseline,
            steps=self.steps,
            units_per_step=self.units_per_step,
            patch=self.patch,
            on_logits=self.on_logits,
            chunk=self.chunk,
        )
        # The division by f(x)^2 changes no rank.
        clean = Scorer(model, inputs, explained, self.on_logits, self.chunk).clean().unsqueeze(1)
        self.add(
            spearman(sums, (scores - clean).square(), there).masked_fill(~varies(settled(scores, there)), torch.nan)
        )
