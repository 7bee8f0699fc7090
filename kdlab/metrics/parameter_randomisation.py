"""Sanity check: an attribution that survives the loss of the model's weights explains the input, not the model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from kdlab.metrics.base import PerSample
from kdlab.metrics.checks import check_attributions, check_same_shape
from kdlab.metrics.explaining import ExplainsAgain
from kdlab.metrics.numerics import generator_of, rows, spearman, varies
from kdlab.metrics.scorer import undisturbed


@contextmanager
def randomised(model: nn.Module, names: Sequence[str] | None = None, seed: int = 0) -> Iterator[bool]:
    """Replace parameters inside the ``with`` by normal draws of their mean and spread; put them back, error or not.

    Gives whether any parameter has another draw: those without spread, as a fresh normalisation's, have none.

    Args:
        model: Its parameters' storage is swapped, so that the old one comes back bit for bit and no gradient is
            touched.
        names: Which parameters, by name; by default all.
        seed: Of the draws.

    Raises:
        ValueError: If a name is none of the model's parameters.
    """
    parameters = dict(model.named_parameters())
    chosen = list(parameters) if names is None else list(names)
    unknown = sorted(set(chosen) - set(parameters))
    if unknown:
        raise ValueError(f"no parameters {unknown} in {type(model).__name__}; it has {sorted(parameters)[:20]}")
    generator = generator_of(seed)
    # A tensor made under inference_mode could not take part in the attribution's gradient.
    with torch.inference_mode(False):
        kept = {name: parameters[name].data for name in chosen}
    try:
        with torch.inference_mode(False), torch.no_grad():
            for name, old in kept.items():
                draw = torch.randn(old.shape, generator=generator, dtype=torch.float64)
                spread = old.std(correction=0) if old.numel() > 0 else 0.0
                parameters[name].data = draw.to(old) * spread + old.mean()
            changed = any(bool(varies(old.reshape(1, -1))) for old in kept.values())
        yield changed
    finally:
        with torch.inference_mode(False):
            for name, old in kept.items():
                parameters[name].data = old


def randomised_similarity(
    model: nn.Module,
    attribute: ExplainsAgain,
    inputs: Tensor,
    attributions: Tensor,
    explained: Tensor,
    *,
    names: Sequence[str] | None = None,
    absolute: bool = True,
    seed: int = 0,
) -> Tensor:
    """Return the rank correlation of a(x) with the randomised model's: (batch,), NaN where either is constant.

    All are NaN if none of the parameters has a spread: what was not randomised was not tested.

    Args:
        model: What ``attribute`` explains, the very object: its weights are exchanged in place.
        attribute: a. What it keeps of its own, as a learned explainer its weights, stays: that one scores 1, unless it
            asks the model, and was not tested. Train another on the randomised model to test it.
        inputs: (batch, ...).
        attributions: a(x), the inputs' shape.
        explained: (batch,), the class explained, before and after.
        names: Which parameters are randomised; by default all. From the output down, one layer more a call, it is the
            cascade.
        absolute: Correlate absolute values.
        seed: Of the draws.

    Raises:
        ValueError: If shapes do not fit, or a name is none of the model's parameters.
    """
    check_attributions(attributions, inputs)
    with randomised(model, names, seed) as changed, undisturbed(model, inputs), torch.no_grad():
        after = attribute(inputs, explained)
    check_same_shape(attributions=attributions, after=after)
    values = [rows(tensor).abs() if absolute else rows(tensor) for tensor in (attributions, after)]
    similarity = spearman(values[0], values[1])
    return similarity if changed else torch.full_like(similarity, torch.nan)


class ParameterRandomisation(PerSample):
    """Rank correlation of the attributions before and after the model lost its weights: [-1, 1], lower is better.

    0 is ideal; 1 is what a learned explainer gets that does not ask the model. All parameters become normal draws of
    their own mean and spread; the class explained stays. An attribution that hardly changes does not depend on what was
    learnt. NaN where either is constant, or where no parameter has a spread to draw from. Adebayo et al. 2018, "model
    parameter randomization test", https://arxiv.org/abs/1810.03292. ``LayerRandomisation`` goes layer by layer.

    Args:
        absolute: Correlate absolute values; signs of early layers flip by chance.
        seed: Of the draws.
    """

    higher_is_better = False

    def __init__(self, absolute: bool = True, seed: int = 0) -> None:
        super().__init__()
        self.absolute = absolute
        self.seed = seed

    def update(
        self, model: nn.Module, inputs: Tensor, attributions: Tensor, explained: Tensor, attribute: ExplainsAgain
    ) -> None:
        """Take in the model, inputs (batch, ...), attributions of that shape, explained (batch,), what explains again.

        Raises:
            ValueError: If shapes do not fit.
        """
        scores = randomised_similarity(
            model, attribute, inputs, attributions, explained, absolute=self.absolute, seed=self.seed
        )
        self.add(scores)
