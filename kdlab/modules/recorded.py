"""A stage whose predictions come from a file of soft labels."""

from collections.abc import Mapping
from typing import ClassVar, cast

from torch import Tensor, nn

from kdlab.modules.without_gradients import WithoutGradients
from kdlab.signals.vocabulary import Signals
from kdlab.teacher import KnowsSamples


class Recorded(WithoutGradients):
    """A teacher whose soft labels were read from a file: nothing is trained, and it is scored like any other stage.

    It can predict the data's own samples only. It is therefore not explained, and has no costs that could be measured.
    Terms that need its layers or explanations are refused before training, and so are batches without ``index``, such
    as those of a user's own DataLoader.

    Args:
        model: a network that knows the logits of each sample, such as ``SoftLabelFile``.

    Raises:
        TypeError: If the model has no ``of_samples``.
    """

    explainable: ClassVar[bool] = False

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        if not isinstance(model, KnowsSamples):
            raise TypeError(f"{type(model).__name__} has no of_samples(index); name a SoftLabelFile, or use Supervised")

    def signals(self, batch: Mapping[str, Tensor]) -> Signals:
        """Return the batch, the model, and the recorded logits of the batch's samples."""
        model = cast("KnowsSamples", self.model)
        return Signals(
            {**batch, "model": self.model},
            {"logits": lambda signals: model.of_samples(signals["index"]), "preds": lambda signals: signals["logits"]},
        )
