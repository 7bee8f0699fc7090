"""A stage whose predictions are on record: the teacher of whom only soft labels are there."""

from collections.abc import Mapping
from typing import ClassVar, cast

from torch import Tensor, nn

from kdlab.modules.without_gradients import WithoutGradients
from kdlab.signals.vocabulary import Signals
from kdlab.teacher import KnowsSamples


class Recorded(WithoutGradients):
    """The teacher whose soft labels somebody wrote to a file: nothing trains, and it is scored as any stage.

    It predicts the data's own samples and no other input. So it is not explained and costs nothing that could be
    measured, terms that need its layers or explanations are refused before training, and so are batches without
    ``index``, such as those of a DataLoader of somebody's own.

    Args:
        model: a network that knows its logits of each sample, such as ``SoftLabelFile``.

    Raises:
        TypeError: If the model knows no samples.
    """

    explainable: ClassVar[bool] = False

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        if not isinstance(model, KnowsSamples):
            raise TypeError(f"{type(model).__name__} has no of_samples(index); name a SoftLabelFile, or use Supervised")

    def signals(self, batch: Mapping[str, Tensor]) -> Signals:
        """The batch, the model, and the logits that are on record of its samples."""
        model = cast("KnowsSamples", self.model)
        return Signals(
            {**batch, "model": self.model},
            {"logits": lambda signals: model.of_samples(signals["index"]), "preds": lambda signals: signals["logits"]},
        )
