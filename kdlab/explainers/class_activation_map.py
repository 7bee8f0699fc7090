"""CAM: a linear head read at every position."""

import torch
from torch import Tensor, nn

from kdlab.explainers.base import chosen_class, explaining
from kdlab.explainers.spatial import as_inputs
from kdlab.signals.capture import capture, find_layer


class ClassActivationMap:
    """A layer's channels, summed with the head's weights of the explained class.

    ``sum_k W[c, k] A_k``, signed, stretched linearly over the inputs' grid; every input channel carries the same
    map. For models that end in this layer, a mean over positions and this head; then the map's mean is the logit
    without its bias. Zhou et al. 2016, equation 2, https://arxiv.org/abs/1512.04150.

    Args:
        model: A classifier, inputs (batch, channels, ...) with 1 to 3 spatial axes.
        layer: Path of the last spatial layer.
        head: Path of the ``nn.Linear`` that gives the logits, with as many inputs as the layer has channels.

    Raises:
        KeyError: If the model has no such layer or head.
        TypeError: If the head is no ``nn.Linear``.
    """

    multiplies_by_inputs: bool = True
    differentiable: bool = True

    def __init__(self, model: nn.Module, layer: str, head: str) -> None:
        find_layer(model, layer.partition("#")[0].partition(":")[0])
        linear = find_layer(model, head)
        if not isinstance(linear, nn.Linear):
            raise TypeError(f"the head {head!r} is {type(linear).__name__}; a class activation map needs an nn.Linear")
        self.model, self.layer, self.head = model, layer, linear

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Return maps in the inputs' shape; ``target`` (batch,) is the class explained, None the top one."""
        with explaining(self.model) as keep_graph:
            with torch.set_grad_enabled(keep_graph), capture(self.model, [self.layer]) as captured:
                logits = self.model(inputs.clone())
            activations, weight = captured[self.layer], self.head.weight
            if activations.dim() < 3 or activations.shape[1] != weight.shape[1]:
                raise ValueError(
                    f"layer {self.layer!r} gives {tuple(activations.shape)} and the head takes {weight.shape[1]}; "
                    "choose the spatial layer whose channels the head weighs"
                )
            weights = weight[chosen_class(logits, target)]
            columns = weights.reshape(*weights.shape, *[1] * (activations.dim() - 2))
            attributions = as_inputs((columns * activations).sum(dim=1, keepdim=True), inputs)
            return attributions if keep_graph else attributions.detach()
