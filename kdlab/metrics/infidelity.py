"""Infidelity: how well does an attribution foretell what a disturbance of the whole input does."""

import torch
from torch import Tensor

from kdlab.metrics.base import MedianPerSample
from kdlab.metrics.checks import check_attributions, check_positive, expand_baseline
from kdlab.metrics.explaining import draw_normal
from kdlab.metrics.numerics import rows
from kdlab.metrics.scorer import Model, Scorer


def infidelity(
    model: Model,
    inputs: Tensor,
    attributions: Tensor,
    explained: Tensor,
    baseline: Tensor,
    disturbances: Tensor,
    *,
    multiplies_by_inputs: bool,
    normalised: bool = False,
    on_logits: bool = True,
    chunk: int | None = None,
) -> Tensor:
    """Return ``mean_I (b w.a - (f(x) - f(x - I)))^2``: (batch,).

    Args:
        model: Inputs (batch, ...) -> logits (batch, classes).
        inputs: (batch, ...).
        attributions: The inputs' shape.
        explained: (batch,), the class explained.
        baseline: x_0, shape of one input, or broadcastable to the inputs; of use only where attributions multiply by
            inputs.
        disturbances: I, (draws, ...) for all samples, or (batch, draws, ...) for each its own.
        multiplies_by_inputs: The attributions hold ``x - x_0`` already: ``w = I / (x - x_0)``, with 1 for a zero below.
            Else ``w = I``.
        normalised: b is the factor that makes the value least, ``mean(w.a df) / mean((w.a)^2)``, 0 if that is 0 / 0.
            Else b = 1.
        on_logits: The logit of the class; else its probability.
        chunk: Rows computed at once, by default by activation bytes.

    Raises:
        ValueError: If shapes do not fit, or the explained class is none of the model's.
    """
    check_attributions(attributions, inputs)
    present, values = inputs.detach().flatten(1), rows(attributions)
    table = disturbances.unsqueeze(0) if disturbances.dim() == inputs.dim() else disturbances
    if table.shape[2:] != inputs.shape[1:] or table.shape[0] not in (1, inputs.shape[0]):
        raise ValueError(f"disturbances {tuple(disturbances.shape)} do not fit inputs {tuple(inputs.shape)}")
    table = table.flatten(2)

    def build(samples: slice, draws: slice) -> Tensor:
        own = table[:, draws] if table.shape[0] == 1 else table[samples, draws]
        return present[samples].unsqueeze(1) - own

    scorer = Scorer(model, inputs, explained, on_logits, chunk)
    effect = scorer.clean().unsqueeze(1) - scorer.versions(table.shape[1], build)
    if multiplies_by_inputs:
        distance = present - expand_baseline(baseline, inputs).detach().flatten(1)
        values = values / torch.where(distance == 0, 1, distance)
    weights = table.to(values)
    shared = weights.shape[0] == 1
    foretold = values @ weights[0].T if shared else (weights @ values.unsqueeze(2)).squeeze(2)
    if normalised:
        power = foretold.square().mean(dim=1, keepdim=True)
        factor = (foretold * effect).mean(dim=1, keepdim=True) / torch.where(power == 0, 1, power)
        foretold = factor * foretold
    return (foretold - effect).square().mean(dim=1)


class Infidelity(MedianPerSample):
    """``mean_I (I.a - (f(x) - f(x - I)))^2`` over normal disturbances I of the whole input: >= 0, lower is better.

    The value is the median over samples, and ``mean()`` the mean. Contributions are scored by ``I / (x - x_0)``, which
    has no bound where a feature lies close to the baseline: one such feature lifts its sample by orders of magnitude,
    and a mean over samples then speaks of that one (for Shapley values .47 where the median is .016). The median says
    what a sample can expect and compares explainers whose tails differ; the mean beside it shows the tail.

    f is the logit of the explained class by default. For slopes (gradients) as written; for attributions that already
    hold the input's distance to the baseline (``multiplies_by_inputs``), I is divided by it, else another quantity
    would be scored. An attribution that is zero everywhere foretells no effect and scores ``mean_I (f(x) - f(x
    - I))^2``. Disturbances are drawn once and shared by all samples. Yeh et al. 2019, "infidelity measure",
    https://arxiv.org/abs/1901.09392.

    Args:
        std: Of the disturbance, in the input's unit; the default is meant for standardised inputs.
        draws: How many disturbances.
        normalised: Scale each attribution by the factor that makes its value least, so that the size of attributions
            does not count.
        on_logits: The logit of the explained class; else its probability.
        seed: Of the draws.
        chunk: Rows computed at once; by default as many as the activations' bytes allow.

    Raises:
        ValueError: If a number is not positive.
    """

    higher_is_better = False

    def __init__(
        self,
        std: float = 0.1,
        draws: int = 50,
        normalised: bool = False,
        on_logits: bool = True,
        seed: int = 0,
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        check_positive(std=std, draws=draws, chunk=chunk)
        self.std = std
        self.draws = draws
        self.normalised = normalised
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
        multiplies_by_inputs: bool,
    ) -> None:
        """Take in inputs (batch, ...), attributions of that shape, explained (batch,), baseline of one input's shape.

        ``multiplies_by_inputs`` says whether attributions are contributions as they stand, or slopes.

        Raises:
            ValueError: If shapes do not fit, or the explained class is none of the model's.
        """
        scores = infidelity(
            model,
            inputs,
            attributions,
            explained,
            baseline,
            draw_normal(self.draws, inputs.shape[1:], self.std, self.seed, inputs),
            multiplies_by_inputs=multiplies_by_inputs,
            normalised=self.normalised,
            on_logits=self.on_logits,
            chunk=self.chunk,
        )
        self.add(scores)
