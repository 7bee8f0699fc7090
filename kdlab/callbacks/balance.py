"""How the terms of an objective share the student's gradient: weights cannot be set without it."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn

from kdlab.modules.adopted import adopt_module
from kdlab.modules.epoch_means import EpochMeans
from kdlab.modules.supervised import Terms


def gradient_norms(terms: Terms, parameters: Sequence[nn.Parameter]) -> dict[str, Tensor]:
    """The norm of each term's weighted gradient by these parameters; terms that do not reach them are left out.

    Args:
        terms: weight and value by name, their graph alive; it stays so.
        parameters: what is differentiated by; parameters without gradient are passed over.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    norms = {}
    for name, (weight, value) in terms.items():
        if not trained or not value.requires_grad:
            continue
        gradients = torch.autograd.grad(value, trained, retain_graph=True, allow_unused=True)
        reached = [gradient.detach().float().square().sum() for gradient in gradients if gradient is not None]
        if reached:
            norms[name] = weight * torch.stack(reached).sum().sqrt()
    return norms


def shares(norms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each norm's share of their sum, in [0, 1]; all 0 where every norm is."""
    if not norms:
        return {}
    total = torch.stack(list(norms.values())).sum()
    return {name: torch.where(total > 0, norm / total, torch.zeros_like(total)) for name, norm in norms.items()}


class Balance(lightning.Callback):
    """Log each term's share of the student's gradient as ``train/balance/<term>``, a mean over the epoch's looks.

    A share is ``|w_k grad D_k| / sum_j |w_j grad D_j|``, in [0, 1], the norm over all of the student's parameters.
    A look costs about one backward pass a term and changes nothing that trains.

    Args:
        every_n_steps: optimiser steps from one look to the next, >= 1.

    Raises:
        ValueError: If every_n_steps is below 1.
        TypeError: When training starts, if the module is none of kdlab's.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {every_n_steps}")
        self.every_n_steps = every_n_steps
        self._means = EpochMeans()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Ask to be shown the terms."""
        module = adopt_module(pl_module)
        if not module.has_terms:
            raise TypeError(
                f"Balance reads the terms of kdlab's modules, and {type(pl_module).__name__} is none; drop the callback"
            )
        parameters = list(module.model.parameters())
        self._means.load_state_dict(self._means.state_dict(), pl_module.device)  # a checkpoint's looks lie on the CPU

        def look(terms: Terms) -> None:
            if trainer.global_step % self.every_n_steps == 0:
                gradient_shares = shares(gradient_norms(terms, parameters))
                if gradient_shares:
                    self._means.add(gradient_shares)

        module.observe = look

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Look no more."""
        adopt_module(pl_module).observe = None

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Log the epoch's means; nothing in an epoch without a look."""
        values = {f"train/balance/{name}": share for name, share in self._means.compute().items()}
        self._means.reset()
        if values:
            pl_module.log_dict(values)

    def state_dict(self) -> dict[str, Any]:
        """The looks of the running epoch."""
        return self._means.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with them."""
        self._means.load_state_dict(state_dict, torch.device("cpu"))
