"""Stages that are not trained by gradient steps."""

from typing import Any, ClassVar

from torch import nn

from kdlab.modules.supervised import Supervised


class WithoutGradients(Supervised):
    """A stage of one epoch without an optimiser; it is validated, tested, kept, cached and reported like any other.

    Exactly one epoch is run and validated, whatever ``max_epochs`` and ``check_val_every_n_epoch`` say. Its steps train
    nothing.

    Args:
        model: A network from inputs to logits.
    """

    by_gradients: ClassVar[bool] = False

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        # Without an optimiser, Lightning's own loop would have nothing to step.
        self.automatic_optimization = False

    def prepare(self, batch: object) -> None:
        """Check nothing, because no term needs a gradient."""

    def on_fit_start(self) -> None:
        """Run and validate one epoch, whatever the experiment's trainer settings are for other stages."""
        self.trainer.fit_loop.max_epochs = 1
        self.trainer.check_val_every_n_epoch = 1

    def training_step(self, batch: object, batch_idx: int) -> None:  # type: ignore[override]  # Lightning takes None
        """Do nothing, because no step trains the model."""

    def configure_optimizers(self) -> Any:  # noqa: ANN401  Lightning takes several forms
        """Return no optimiser."""
        return []
