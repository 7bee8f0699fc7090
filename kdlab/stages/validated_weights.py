"""The weights that a validation scored."""

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class Scored(lightning.Callback):
    """Holds the weights that were scored, in case Lightning uses averaged weights for validation only.

    It must come before the averaging callback, which removes the averaged weights again; ``Checkpoints`` comes after
    all others.
    """

    def __init__(self) -> None:
        self._weights: dict[str, Tensor] | None = None

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Copy the weights if an averaging callback is about to change them."""
        averaging = any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks)  # type: ignore[attr-defined]
        self._weights = {n: v.detach().clone() for n, v in exported(pl_module).items()} if averaging else None

    def weights(self, module: lightning.LightningModule) -> dict[str, Tensor]:
        """Return the weights of the last validation."""
        return exported(module) if self._weights is None else self._weights


def exported(module: lightning.LightningModule) -> dict[str, Tensor]:
    """Return the weights that are kept after training: the model's and the explainer's, without parts of losses."""
    return {name: value for name, value in module.state_dict().items() if name.startswith(("model.", "explainer."))}
