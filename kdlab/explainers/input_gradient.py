"""Slope of the class score by the inputs."""

from torch import Tensor, nn

from kdlab.explainers.base import class_score, explaining, gradient, watched


class InputGradient:
    """Slope of the explained class's logit by each input, signed.

    ``d logit_c / d inputs``. Simonyan et al. 2014, section 3, https://arxiv.org/abs/1312.6034 (there its absolute
    value). Under grad the slope is part of the graph, and a second derivative reaches the model's weights.
    """

    multiplies_by_inputs: bool = False
    differentiable: bool = True

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Return slopes in the inputs' shape; ``target`` (batch,) is the class explained, None the model's own."""
        with explaining(self.model) as keep_graph:
            watched_inputs = watched(inputs, keep_graph)
            # The model gets a copy, so that a first layer that works in place leaves the watched tensor alone.
            scores = class_score(self.model(watched_inputs.clone()), target)
            return gradient(scores, watched_inputs, keep_graph)
