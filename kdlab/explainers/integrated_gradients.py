"""Slopes along the way from a baseline to the input."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from kdlab.explainers.base import chosen_class, class_score, explaining, gradient, pieces, watched
from kdlab.explainers.baseline import as_baseline


class IntegratedGradients:
    """What each input contributes to the explained class's logit between baseline and input.

    ``(x - x0) * integral over t in [0, 1] of d logit_c / d x at x0 + t (x - x0)``; the sum is ``logit_c(x) -
    logit_c(x0)`` (completeness) up to the error of Gauss-Legendre quadrature. Sundararajan et al. 2017, equation 1,
    https://arxiv.org/abs/1703.01365. Under grad it is part of the graph, at the memory of all steps at once.

    Args:
        model: A classifier with logits (batch, classes).
        baseline: x0: a number, or values of one input.
        steps: Points of the quadrature, >= 1.
        rows: Inputs that go through the model at once, >= 1.

    Raises:
        ValueError: If steps or rows is not positive.
    """

    multiplies_by_inputs: bool = True
    differentiable: bool = True

    def __init__(
        self, model: nn.Module, baseline: float | Sequence[float] | Tensor = 0.0, steps: int = 32, rows: int = 1024
    ) -> None:
        if steps < 1 or rows < 1:
            raise ValueError(f"steps and rows must be positive, got {steps} and {rows}")
        self.model, self.baseline, self.rows = model, baseline, rows
        points, weights = np.polynomial.legendre.leggauss(steps)
        self.points, self.weights = torch.tensor((points + 1) / 2), torch.tensor(weights / 2)

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Return contributions in the inputs' shape; ``target`` (batch,) is the class explained, None the top one."""
        with explaining(self.model) as keep_graph:
            end = watched(inputs, keep_graph)
            with torch.no_grad():
                explained = chosen_class(self.model(end.clone()), target)
            start = as_baseline(self.baseline, end)
            total = torch.zeros_like(end)
            at_once = self.rows // max(1, len(end))
            for points, weights in zip(pieces(self.points, at_once), pieces(self.weights, at_once), strict=True):
                total = total + self._slopes(start, end, points, weights, explained, keep_graph)
            attributions = total * (end - start)
            return attributions if keep_graph else attributions.detach()

    def _slopes(
        self, start: Tensor, end: Tensor, points: Tensor, weights: Tensor, explained: Tensor, keep_graph: bool
    ) -> Tensor:
        """Return the weighted sum of the slopes at some of the points."""
        across = (-1, *[1] * end.dim())
        between = start + points.to(end).reshape(across) * (end - start)[None]
        if not keep_graph:
            between = between.detach().requires_grad_()
        scores = class_score(self.model(between.flatten(0, 1).clone()), explained.repeat(len(points)))
        return (gradient(scores, between, keep_graph) * weights.to(end).reshape(across)).sum(dim=0)
