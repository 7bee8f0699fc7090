"""Giving a trial up early: because it lags behind the others, or because its weights are no longer finite."""

import lightning.pytorch as lightning
import optuna
import torch
from optuna import Trial

from kdlab.errors import DivergedError, GivenUp
from kdlab.records.stage_folder import StageFolder
from kdlab.sweep.criteria import Measured


class Pruned(optuna.TrialPruned, GivenUp):
    """The trial lags behind and is given up: Optuna counts it as pruned, and its execution does not count as failed."""


class Pruning(lightning.Callback):
    """Reports a stage's metric to the study and stops the trial when its pruner says so.

    Args:
        trial: the trial whose metric is reported.
        quantity: the metric.
        folder: the stage's folder; the epochs that it has already are reported at once.
    """

    def __init__(self, trial: Trial, quantity: Measured, folder: StageFolder) -> None:
        self._trial, self._metric = trial, quantity.metric
        self._reported: set[int] = set()
        for epoch, value in quantity.per_epoch(folder).items():
            self._report(epoch, value)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Report the metric of this epoch, and stop if the trial is far behind.

        A trial is not given up after its last epoch, because that would save no time.

        Raises:
            Pruned: If the trial is given up.
        """
        if trainer.sanity_checking or self._metric not in trainer.callback_metrics:
            return
        self._report(trainer.current_epoch, float(trainer.callback_metrics[self._metric]))
        last = trainer.max_epochs is not None and trainer.current_epoch + 1 >= trainer.max_epochs
        if not last and self._trial.should_prune():
            raise Pruned(f"given up after epoch {trainer.current_epoch + 1}")

    def _report(self, epoch: int, value: float) -> None:
        # Optuna warns about an epoch that has a value already, and NaN cannot be compared.
        if epoch not in self._reported and value == value:
            self._reported.add(epoch)
            self._trial.report(value, epoch)


class Divergence(lightning.Callback):
    """Ends a training whose weights are infinite or NaN."""

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Check all weights before each validation.

        Raises:
            DivergedError: If one of them is infinite or NaN.
        """
        if not all(bool(torch.isfinite(weights).all()) for weights in pl_module.parameters()):
            raise DivergedError(f"weights are no numbers after epoch {trainer.current_epoch + 1}")
