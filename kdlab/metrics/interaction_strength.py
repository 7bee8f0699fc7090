"""Interaction strength: how much of a model's response no sum over single features can explain."""

import torch
from torch import Tensor

from kdlab.metrics.base import PerSample
from kdlab.metrics.checks import check_attributions, check_positive, expand_baseline
from kdlab.metrics.masking import masked_scores
from kdlab.metrics.numerics import generator_of, varies
from kdlab.metrics.scorer import Model, Scorer


def draw_pairs(pairs: int, features: int, seed: int) -> Tensor:
    """Return different pairs of different features: (at most ``pairs``, 2); all there are if they are not more."""
    every = torch.combinations(torch.arange(features), 2) if features <= 512 else None
    if every is not None:
        chosen = torch.randperm(every.shape[0], generator=generator_of(seed))[:pairs].sort().values
        return every[chosen]
    first = torch.randint(features, (pairs,), generator=generator_of(seed))
    shift = torch.randint(1, features, (pairs,), generator=generator_of(seed + 1))
    return torch.stack([first, (first + shift) % features], dim=1)


def two_way(
    model: Model,
    inputs: Tensor,
    explained: Tensor,
    baseline: Tensor,
    pairs: Tensor,
    *,
    on_logits: bool = True,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return each pair's interaction and main effects, both (batch, pairs), and whether f varies, (batch,) bool.

    For a pair, f is taken with both features present, either at the baseline, and both: ``f_11, f_01, f_10, f_00``. The
    two-way analysis of variance of these four gives the interaction ``I = (f_11 - f_01 - f_10 + f_00)^2`` and the main
    effects ``A = (f_11 + f_10 - f_01 - f_00)^2`` and ``B = (f_11 + f_01 - f_10 - f_00)^2``, returned as A + B.

    Args:
        model: Inputs (batch, ...) -> logits (batch, classes).
        inputs: (batch, ...).
        explained: (batch,), the class explained.
        baseline: Shape of one input, or broadcastable to the inputs.
        pairs: (pairs, 2), indices of features.
        on_logits: The logit of the class; else its probability.
        chunk: Rows computed at once, by default by activation bytes.

    Raises:
        ValueError: If shapes do not fit, or the explained class is none of the model's.
    """
    check_attributions(inputs, inputs)
    present, absent = inputs.detach().flatten(1), expand_baseline(baseline, inputs).detach().flatten(1)
    features, count = present.shape[1], pairs.shape[0]
    pairs = pairs.cpu()
    used, where = torch.unique(pairs, return_inverse=True)
    masks = torch.zeros(1 + used.shape[0] + count, features, dtype=torch.bool)
    masks[torch.arange(used.shape[0]) + 1, used] = True
    masks[1 + used.shape[0] :].scatter_(1, pairs, True)
    scores = masked_scores(Scorer(model, inputs, explained, on_logits, chunk), present, absent, masks)
    where = where.to(scores.device)
    both, neither = scores[:, :1], scores[:, 1 + used.shape[0] :]
    second, first = scores[:, 1 + where[:, 0]], scores[:, 1 + where[:, 1]]
    interaction = (both - first - second + neither).square()
    main = (both + first - second - neither).square() + (both + second - first - neither).square()
    return interaction, main, varies(scores)


def interaction_strength(
    model: Model,
    inputs: Tensor,
    explained: Tensor,
    baseline: Tensor,
    pairs: Tensor,
    *,
    on_logits: bool = True,
    chunk: int | None = None,
) -> Tensor:
    """Return the share of the pairs' variance that is interaction: (batch,), in [0, 1], NaN where f does not vary.

    ``sum I / sum (A + B + I)`` over the pairs, by ``two_way``, whose arguments and errors these are.
    """
    effects = two_way(model, inputs, explained, baseline, pairs, on_logits=on_logits, chunk=chunk)
    interaction, main = effects[0].sum(dim=1), effects[1].sum(dim=1)
    return (interaction / (interaction + main)).masked_fill(~effects[2], torch.nan)


class InteractionStrength(PerSample):
    """Share of the response to pairs of features that is interaction: [0, 1], neither way is better as such.

    0 for an additive model; what remains is what attributions, one number a feature, can at most explain. A two-way
    analysis of variance at the sample, between the input and the baseline; the idea is the H statistic of Friedman and
    Popescu 2008, section 8.1, https://arxiv.org/abs/0811.1679. f is the logit by default: a softmax adds interactions
    of its own. Pairs are drawn once and shared by all samples. NaN for a single feature or where f does not vary.

    Args:
        pairs: How many; all there are if they are not more.
        on_logits: The logit of the explained class; else its probability.
        seed: Of the draws.
        chunk: Rows computed at once; by default as many as the activations' bytes allow.

    Raises:
        ValueError: If a number is not positive.
    """

    higher_is_better = None

    def __init__(self, pairs: int = 64, on_logits: bool = True, seed: int = 0, chunk: int | None = None) -> None:
        super().__init__()
        check_positive(pairs=pairs, chunk=chunk)
        self.pairs = pairs
        self.on_logits = on_logits
        self.seed = seed
        self.chunk = chunk

    def update(self, model: Model, inputs: Tensor, explained: Tensor, baseline: Tensor) -> None:
        """Take in inputs (batch, ...), explained (batch,), baseline of one input's shape.

        Raises:
            ValueError: If shapes do not fit, or the explained class is none of the model's.
        """
        pairs = draw_pairs(self.pairs, torch.Size(inputs.shape[1:]).numel(), self.seed)
        scores = interaction_strength(
            model, inputs, explained, baseline, pairs, on_logits=self.on_logits, chunk=self.chunk
        )
        self.add(scores)
