"""Prediction and explanation in one call."""

from typing import NamedTuple, Self

from torch import Tensor, nn

from kdlab.explainers.base import Attribution, Deploys
from kdlab.signals.outputs import logits_of


class Explanation(NamedTuple):
    """What a model says and why: a prediction, the class that is explained, and what each input counted for it.

    Attributes:
        logits: (batch, classes).
        explained: (batch,), the model's top class.
        attributions: In the inputs' shape.
    """

    logits: Tensor
    explained: Tensor
    attributions: Tensor


class Explained(nn.Module):
    """A finished model and its explainer as one module, to be deployed together.

    The model runs once. An explainer that can (see ``Deploys``) takes the model's logits from there and what does not
    depend on the input from the time when this object was made: so make it when training is over, and anew after
    further training. The attributions are those of ``explainer.attribute(inputs, logits.argmax(dim=1))``. With such an
    explainer, everything is tensor operations and can be exported by ``torch.export``.

    Both networks are put into eval mode, and ``train`` leaves them there. The caller's grad mode is followed; under
    ``no_grad`` nothing is kept for a backward pass.

    Args:
        model: From inputs to logits (batch, classes).
        explainer: Of that model; learned, or any other with ``attribute``.
    """

    def __init__(self, model: nn.Module, explainer: Attribution) -> None:
        super().__init__()
        self.model = model
        self.explain = explainer.deployed() if isinstance(explainer, Deploys) else _Asked(explainer)
        self.eval()

    def forward(self, inputs: Tensor) -> Explanation:
        """Return logits, the top class and its attributions."""
        logits = logits_of(self.model(inputs))
        explained = logits.argmax(dim=1)
        return Explanation(logits, explained, self.explain(inputs, logits, explained))

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode: batch statistics and dropout have no place in what a user is told."""
        return super().train(False)


class _Asked(nn.Module):
    """An explainer that has only its general way, which is told the class and so need not run the model for it."""

    def __init__(self, explainer: Attribution) -> None:
        super().__init__()
        self.explainer = explainer

    def forward(self, inputs: Tensor, logits: Tensor, explained: Tensor) -> Tensor:
        """Return attributions in the inputs' shape."""
        return self.explainer.attribute(inputs, explained)
