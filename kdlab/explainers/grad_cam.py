"""Grad-CAM: where a convolutional layer saw the class."""

from torch import Tensor, nn

from kdlab.explainers.base import class_score, explaining, gradient, watched
from kdlab.explainers.spatial import as_inputs
from kdlab.signals.capture import capture, find_layer


class GradCam:
    """Positive part of a layer's channels, summed with the mean slope of the class's logit by each.

    ``relu(sum_k w_k A_k)`` with ``w_k = mean over positions of d logit_c / d A_k``, stretched linearly over the
    inputs' grid; every input channel carries the same map. A map may be zero everywhere (dead), where no channel
    speaks for the class. Selvaraju et al. 2017, equations 1 and 2, https://arxiv.org/abs/1610.02391.

    Args:
        model: A classifier, inputs (batch, channels, ...) with 1 to 3 spatial axes.
        layer: Path of the layer, e.g. ``layer4``; its output is (batch, channels, ...) with as many spatial axes.

    Raises:
        KeyError: If the model has no such layer.
    """

    multiplies_by_inputs: bool = True
    differentiable: bool = True

    def __init__(self, model: nn.Module, layer: str) -> None:
        find_layer(model, layer.partition("#")[0].partition(":")[0])
        self.model = model
        self.layer = layer

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Return maps in the inputs' shape, >= 0; ``target`` (batch,) is the class explained, None the model's own."""
        with explaining(self.model) as keep_graph:
            # The layer's output must have a gradient also where every weight before it is frozen.
            watched_inputs = watched(inputs, keep_graph)
            with capture(self.model, [self.layer]) as captured:
                logits = self.model(watched_inputs.clone())
            activations = captured[self.layer]
            if activations.dim() != inputs.dim() or activations.dim() < 3:
                raise ValueError(
                    f"layer {self.layer!r} gives {tuple(activations.shape)} for inputs {tuple(inputs.shape)}; "
                    "Grad-CAM needs a layer whose output is (batch, channels, ...) with the inputs' spatial axes"
                )
            slopes = gradient(class_score(logits, target), activations, keep_graph)
            weights = slopes.flatten(2).mean(dim=2)
            maps = (weights.reshape(*weights.shape, *[1] * (inputs.dim() - 2)) * activations).sum(dim=1, keepdim=True)
            attributions = as_inputs(maps.relu(), inputs)
            return attributions if keep_graph else attributions.detach()
