"""Faithfulness estimate: does an attribution foretell what each feature's own removal costs."""

import torch
from torch import Tensor

from kdlab.metrics.checks import expand_baseline
from kdlab.metrics.contributions import contributions
from kdlab.metrics.numerics import pearson
from kdlab.metrics.order import order, units_of
from kdlab.metrics.removal import Removal
from kdlab.metrics.scorer import Model, Scorer


def ablate(scorer: Scorer, present: Tensor, absent: Tensor, groups: Tensor, count: int) -> Tensor:
    """Return f with one group of features at the baseline, the others present: (batch, count).

    Args:
        scorer: f.
        present: (batch, features), the inputs.
        absent: (batch, features), the baseline.
        groups: (batch, features), which group a feature belongs to.
        count: How many groups there are.
    """
    numbers = torch.arange(count, device=groups.device, dtype=groups.dtype).view(1, -1, 1)

    def build(samples: slice, chosen: slice) -> Tensor:
        gone = groups[samples].unsqueeze(1) == numbers[:, chosen]
        return torch.where(gone, absent[samples].unsqueeze(1), present[samples].unsqueeze(1))

    return scorer.versions(count, build)


def ablation_scores(
    model: Model,
    inputs: Tensor,
    relevance: Tensor,
    explained: Tensor,
    baseline: Tensor,
    *,
    steps: int = 32,
    units_per_step: int | None = None,
    patch: int | None = None,
    on_logits: bool = True,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return each group's relevance, f without that group, and whether there is such a group: (batch, groups) each.

    With one feature a step a group is a feature. Else features are grouped in the order of their relevance, sample by
    sample; equal ones stay together, so that a group may be larger, and others empty.

    Args:
        model: Inputs (batch, ...) -> logits (batch, classes).
        inputs: (batch, ...).
        relevance: (batch, features).
        explained: (batch,), the class explained.
        baseline: Shape of one input, or broadcastable to the inputs.
        steps: At most so many groups, if ``units_per_step`` is None.
        units_per_step: The groups' size; the last may be smaller.
        patch: See ``kdlab.metrics.order.units_of``.
        on_logits: The logit of the class; else its probability.
        chunk: Rows computed at once, by default by activation bytes.

    Raises:
        ValueError: If shapes do not fit, or the explained class is none of the model's.
    """
    present, absent = inputs.detach().flatten(1), expand_baseline(baseline, inputs).detach().flatten(1)
    units = units_of(inputs.shape[1:], patch)
    ordered = order(relevance, units)
    size = units_per_step or -(-ordered.units // steps)
    count = -(-ordered.units // size)
    if size > 1:
        groups = ordered.before.to(torch.int64) // size
    else:
        own = torch.arange(ordered.units) if units is None else units
        groups = own.to(relevance.device).expand_as(relevance)
    sums = relevance.new_zeros(relevance.shape[0], count).scatter_add_(1, groups, relevance)
    members = torch.zeros_like(sums).scatter_add_(1, groups, torch.ones_like(relevance))
    scores = ablate(Scorer(model, inputs, explained, on_logits, chunk), present, absent, groups, count)
    return sums, scores, members > 0


class FaithfulnessEstimate(Removal):
    """Correlation, over features, of a_i with ``f(x) - f(x with i at the baseline)``: [-1, 1], higher is better.

    f is the logit of the explained class by default: a probability saturates. Inputs with more features than ``steps``
    lose several at once, grouped in the order of their attributions, equal ones together; a group counts with their
    sum. Slopes are multiplied by the input's distance to the baseline: see ``Removal``. NaN where either is
    constant, as for a single feature. Alvarez-Melis and Jaakkola 2018, "faithfulness",
    https://arxiv.org/abs/1806.07538. See ``Removal`` for the arguments.
    """

    higher_is_better = True

    def __init__(
        self,
        steps: int = 32,
        units_per_step: int | None = None,
        patch: int | None = None,
        on_logits: bool = True,
        chunk: int | None = None,
    ) -> None:
        super().__init__(steps, units_per_step, patch, on_logits, chunk)

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
        sums, scores, there = ablation_scores(
            model,
            inputs,
            contributions(attributions, inputs, baseline, multiplies_by_inputs),
            explained,
            baseline,
            steps=self.steps,
            units_per_step=self.units_per_step,
            patch=self.patch,
            on_logits=self.on_logits,
            chunk=self.chunk,
        )
        self.add(pearson(sums, -scores, there))
