"""A small network that predicts the student."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import log_softmax

from kdlab.explainers.base import Learned, flattened
from kdlab.explainers.networks import fully_connected


class NeuralSurrogate(Learned):
    """Fully connected network that learns the model's distribution: the simplest learned explainer.

    Its attribution is the slope of its own log-probability of the class explained, by the inputs; None explains the
    model's top class.

    Args:
        model: The model explained.
        inputs: Number of values in one flattened input.
        classes: Number of classes.
        hidden: Widths of the hidden layers; empty makes it a linear surrogate.

    Raises:
        ValueError: If a size is not positive.
    """

    def __init__(self, model: nn.Module, inputs: int, classes: int, hidden: Sequence[int] = (64,)) -> None:
        super().__init__(model)
        self.inputs = inputs
        self.network = fully_connected(inputs, hidden, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the predicted log-probabilities (batch, classes) of the model."""
        return log_softmax(self.network(flattened(inputs, self.inputs)), dim=1)
