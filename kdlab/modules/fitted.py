"""A stage whose model is an estimator: it is fitted once to all labelled samples and not trained by gradients."""

from collections.abc import Iterable
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from kdlab.data.batches import as_batch
from kdlab.data.loader import ShuffledLoader
from kdlab.errors import StageError
from kdlab.modules.without_gradients import WithoutGradients


class Fits(Protocol):
    """A network that learns from all samples at once, such as ``Estimator``."""

    def fit(self, inputs: Tensor, target: Tensor) -> None:
        """Learn from inputs (samples, ...) and class numbers (samples,).

        Raises:
            ValueError: If it cannot learn from these samples.
        """


class Fitted(WithoutGradients):
    """A stage that fits an estimator once to the labelled training samples; it is then scored like any other stage.

    Each labelled sample counts once and is not augmented. With a user's own loader, the samples of one epoch are used.
    Like any trained stage, the fit has a fingerprint and is kept, cached and reported.

    Args:
        model: a network with ``fit(inputs, target)``, such as ``Estimator``.

    Raises:
        TypeError: If the model has no ``fit``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        if not callable(getattr(model, "fit", None)):
            raise TypeError(f"{type(model).__name__} has no fit(inputs, target); name an Estimator, or use Supervised")

    def on_train_start(self) -> None:
        """Fit the model to all samples.

        This happens here and not in the training steps, so that a stage that is resumed within its epoch also fits to
        all samples.

        Raises:
            StageError: If the model refuses the samples; its own message follows.
        """
        loader = self.trainer.train_dataloader
        if isinstance(loader, ShuffledLoader):
            samples = loader.whole()
        else:
            batches = [as_batch(batch) for batch in cast("Iterable[object]", loader)]
            samples = {name: torch.cat([batch[name] for batch in batches]) for name in ("inputs", "target")}
        labelled = samples["target"] >= 0
        try:
            cast("Fits", self.model).fit(samples["inputs"][labelled], samples["target"][labelled])
        except (TypeError, ValueError) as error:
            raise StageError(f"{type(self.model).__name__} is not fitted: {error}") from error
