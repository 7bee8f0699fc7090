"""Giving a trial up early: when it lags behind the others, or has no numbers left."""

import lightning.pytorch as lightning
import optuna
import torch
from optuna import Trial

from kdlab.errors import DivergedError, GivenUp
from kdlab.records.stage_folder import StageFolder
from kdlab.sweep.criteria import Measured


class Pruned(optuna.TrialPruned, GivenUp):
    """A trial that lags behind: Optuna's word for it, and the run's."""


class Pruning(lightning.Callback):
    """Reports a stage's metric to the study and stops the trial when its pruner says so.

    Args:
        trial: whose value it is.
        quantity: the number that is reported.
        folder: of the stage; epochs that it has already are reported at once.
    """

    def __init__(self, trial: Trial, quantity: Measured, folder: StageFolder) -> None:
        self._trial, self._metric = trial, quantity.metric
        self._reported: set[int] = set()
        for epoch, value in quantity.per_epoch(folder).items():
            self._report(epoch, value)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Report, and stop if the trial is far behind; the last epoch is never in vain.

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
        if epoch not in self._reported and value == value:
            self._reported.add(epoch)
            self._trial.report(value, epoch)


class Divergence(lightning.Callback):
    """Ends a training whose weights are no numbers any more."""

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Look at the weights once an epoch.

        Raises:
            DivergedError: If one of them is infinite or NaN.
        """
        if not all(bool(torch.isfinite(weights).all()) for weights in pl_module.parameters()):
            raise DivergedError(f"weights are no numbers after epoch {trainer.current_epoch + 1}")
