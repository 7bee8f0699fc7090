"""Slope of the class score times the input."""

from collections.abc import Sequence

from torch import Tensor, nn

from kdlab.explainers.base import class_score, explaining, gradient, watched
from kdlab.explainers.baseline import as_baseline


class GradientXInput:
    """What each input contributes to the explained class's logit, as far as the model is linear.

    ``(inputs - baseline) * d logit_c / d inputs``; on a model that is linear the sum is ``logit_c(inputs) -
    logit_c(baseline)``. Shrikumar et al. 2016, section 3, https://arxiv.org/abs/1605.01713.

    Args:
        model: A classifier with logits (batch, classes).
        baseline: The input that contributes nothing: a number, or values of one input.
    """

    multiplies_by_inputs: bool = True
    differentiable: bool = True

    def __init__(self, model: nn.Module, baseline: float | Sequence[float] | Tensor = 0.0) -> None:
        self.model = model
        self.baseline = baseline

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Return contributions in the inputs' shape; ``target`` (batch,) is the class explained, None the top one."""
        with explaining(self.model) as keep_graph:
            watched_inputs = watched(inputs, keep_graph)
            scores = class_score(self.model(watched_inputs.clone()), target)
            slopes = gradient(scores, watched_inputs, keep_graph)
            attributions = slopes * (watched_inputs - as_baseline(self.baseline, watched_inputs))
            return attributions if keep_graph else attributions.detach()
