"""Slopes averaged over noisy copies of the input."""

import torch
from torch import Tensor, nn

from kdlab.explainers.base import chosen_class, class_score, explaining, gradient, pieces, watched


class SmoothGrad:
    """Mean slope of the explained class's logit over inputs with normal noise.

    ``mean over draws of d logit_c / d x at x + noise * n, n ~ N(0, 1)``; the class is that of the clean input.
    Smilkov et al. 2017, section 3, https://arxiv.org/abs/1706.03825. The noise is drawn from ``seed`` once, the same
    for every sample, so that an attribution is the same alone and in any batch.

    Args:
        model: A classifier with logits (batch, classes).
        noise: Standard deviation, in the inputs' unit, >= 0; the paper has 0.1 to 0.2 of the inputs' range.
        draws: Noisy copies, >= 1.
        seed: Of the noise.
        rows: Inputs that go through the model at once, >= 1.

    Raises:
        ValueError: If an argument is out of range.
    """

    multiplies_by_inputs: bool = False
    differentiable: bool = True

    def __init__(self, model: nn.Module, noise: float = 0.1, draws: int = 16, seed: int = 0, rows: int = 1024) -> None:
        if noise < 0 or draws < 1 or rows < 1:
            raise ValueError(f"need noise >= 0 and draws, rows >= 1, got {noise}, {draws} and {rows}")
        self.model, self.noise, self.draws, self.seed, self.rows = model, noise, draws, seed, rows

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Return mean slopes in the inputs' shape; ``target`` (batch,) is the class explained, None the model's own."""
        with explaining(self.model) as keep_graph:
            watched_inputs = watched(inputs, keep_graph)
            with torch.no_grad():
                explained = chosen_class(self.model(watched_inputs.clone()), target)
            generator = torch.Generator().manual_seed(self.seed)
            noise = self.noise * torch.randn(self.draws, 1, *inputs.shape[1:], generator=generator).to(watched_inputs)
            total = torch.zeros_like(watched_inputs)
            for some in pieces(noise, self.rows // max(1, len(inputs))):
                noisy = watched_inputs[None] + some
                scores = class_score(self.model(noisy.flatten(0, 1)), explained.repeat(len(some)))
                total = total + gradient(scores, watched_inputs, keep_graph)
            return total / self.draws
