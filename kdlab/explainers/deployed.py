"""An explainer's way from a prediction to its explanation, as a module."""

from collections.abc import Callable

from torch import Tensor, nn


class Deployed(nn.Module):
    """A method of an explainer as a module of its own, with constants that would be computed at each call otherwise.

    Args:
        explainer: Whose weights the method needs.
        explain: The explainer's method from ``(inputs, logits, explained, **constants)`` to attributions.
        constants: Tensors, kept as buffers.
    """

    def __init__(self, explainer: nn.Module, explain: Callable[..., Tensor], **constants: Tensor) -> None:
        super().__init__()
        self.explainer = explainer
        self._explain = explain
        self._constants = list(constants)
        for name, constant in constants.items():
            self.register_buffer(name, constant)

    def forward(self, inputs: Tensor, logits: Tensor, explained: Tensor) -> Tensor:
        """Return attributions in the inputs' shape."""
        # Not get_buffer(), whose checks cost as much as one of the operations.
        constants = {name: getattr(self, name) for name in self._constants}
        return self._explain(inputs, logits, explained, **constants)
