"""How the terms of an objective share the student's gradient, which must be known in order to set their weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn

from kdlab.modules.adopted import adopt_module
from kdlab.modules.epoch_means import EpochMeans
from kdlab.modules.supervised import Terms


def gradient_norms(terms: Terms, parameters: Sequence[nn.Parameter]) -> dict[str, Tensor]:
    """Return the norm of each term's weighted gradient with respect to these parameters, by the term's name.

    Terms that do not reach the parameters are left out.

    Args:
        terms: weight and value by name; their graph must exist and is kept.
        parameters: what is differentiated by; parameters without gradient are ignored.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    norms = {}
    for name, (weight, value) in terms.items():
        if not trained or not value.requires_grad:
            continue
        # The graph is kept, because the training step needs it afterwards.
        gradients = torch.autograd.grad(value, trained, retain_graph=True, allow_unused=True)
        reached = [gradient.detach().float().square().sum() for gradient in gradients if gradient is not None]
        if reached:
            norms[name] = weight * torch.stack(reached).sum().sqrt()
    return norms


def shares(norms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return each norm's share of their sum, in [0, 1]; all are 0 if all norms are."""
    if not norms:
        return {}
    total = torch.stack(list(norms.values())).sum()
    return {name: torch.where(total > 0, norm / total, torch.zeros_like(total)) for name, norm in norms.items()}


class Balance(lightning.Callback):
    """Logs each term's share of the student's gradient as ``train/balance/<term>``, averaged over each epoch.

    A share is ``|w_k grad D_k| / sum_j |w_j grad D_j|``, in [0, 1], with the norm over all of the student's parameters.
    Measuring it once costs about one backward pass for each term and does not change the training.

    Args:
        every_n_steps: optimiser steps between two measurements, >= 1.

    Raises:
        ValueError: If every_n_steps is below 1.
        TypeError: When training starts, if the module is not one of kdlab's.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {every_n_steps}")
        self.every_n_steps = every_n_steps
        self._means = EpochMeans()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Make the module show its terms at each step."""
        module = adopt_module(pl_module)
        if not module.has_terms:
            raise TypeError(
                f"Balance reads the terms of kdlab's modules, and {type(pl_module).__name__} is none; drop the callback"
            )
        parameters = list(module.model.parameters())
        self._means.load_state_dict(self._means.state_dict(), pl_module.device)  # loaded ones are on the CPU

        def look(terms: Terms) -> None:
            if trainer.global_step % self.every_n_steps == 0:
                gradient_shares = shares(gradient_norms(terms, parameters))
                if gradient_shares:
                    self._means.add(gradient_shares)

        module.observe = look

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Stop measuring."""
        adopt_module(pl_module).observe = None

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Log the epoch's means; nothing is logged for an epoch without a measurement."""
        values = {f"train/balance/{name}": share for name, share in self._means.compute().items()}
        self._means.reset()
        if values:
            pl_module.log_dict(values)

    def state_dict(self) -> dict[str, Any]:
        """Return the measurements of the running epoch."""
        return self._means.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with the measurements of the epoch in which the checkpoint was made."""
        self._means.load_state_dict(state_dict, torch.device("cpu"))
