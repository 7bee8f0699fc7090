"""A network that is trained on labels alone: a teacher or a baseline, and the base class of kdlab's other modules."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kdlab.data.adopted import data_of
from kdlab.data.batches import as_batch
from kdlab.data.description import Description
from kdlab.losses.logits.cross_entropy import CrossEntropy
from kdlab.modules.epoch_means import EpochMeans
from kdlab.modules.task import Task
from kdlab.modules.untouched import untouched
from kdlab.signals.outputs import check_logits, logits_of
from kdlab.signals.vocabulary import Signals

#: The terms of an objective: the weight, which is a number, and the value, which is a scalar tensor.
Terms = dict[str, tuple[float, Tensor]]


class Supervised(lightning.LightningModule):
    """``L_s = w * L_p``: the task loss, by default cross-entropy over the labelled samples of a batch.

    Args:
        model: any network from inputs (batch, ...) to logits (batch, classes), or to a mapping or dataclass that holds
            them as ``logits``.
        task: L_p, a loss that names the signals it needs, or torch's ``CrossEntropyLoss`` or ``MultiMarginLoss``, which
            get the labelled samples only; cross-entropy if left out.
        task_weight: w, no unit, >= 0.
        optimizer: a callable from parameter groups, such as a torch optimiser's class with its arguments bound.
        scheduler: a callable from the optimiser; None leaves the learning rate unchanged.
        scheduler_every_step: whether the scheduler counts optimiser steps instead of epochs.

    Attributes:
        baseline: the value of an absent feature, of one input's shape, for terms that ask for it. It is taken from a
            kdlab data module; with other data it must be set.
        observe: called with the terms of each training step while their graph exists; None calls nothing.

    Raises:
        ValueError: If the task weight is negative.
    """

    baseline: Tensor | None
    #: Whether this module learns from unlabelled samples; if not, its batches hold labelled ones only.
    uses_unlabelled: ClassVar[bool] = False
    #: Whether it is trained by gradient steps over epochs; if not, it needs no trainable weights and no schedule.
    by_gradients: ClassVar[bool] = True
    #: Whether its model can predict any input, so that it can be explained and timed.
    explainable: ClassVar[bool] = True
    #: Whether it has a model and loss terms that can be checked before training.
    has_terms: ClassVar[bool] = True
    #: Whether the model stays unchanged.
    frozen: bool = False

    def __init__(
        self,
        model: nn.Module,
        task: nn.Module | None = None,
        task_weight: float = 1.0,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.AdamW,
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        scheduler_every_step: bool = False,
    ) -> None:
        super().__init__()
        if task_weight < 0:
            raise ValueError(f"task_weight must not be negative, got {task_weight}")
        self.model = model
        self.task = task if task is not None else CrossEntropy()
        self.task_weight = task_weight
        self.means = EpochMeans()
        self.observe: Callable[[Terms], None] | None = None
        # A buffer, so that it moves with the module; not in checkpoints, because the data have it.
        self.register_buffer("baseline", None, persistent=False)
        self._make_optimizer = optimizer
        self._make_scheduler = scheduler
        self._scheduler_every_step = scheduler_every_step
        self._ask_task = Task(self.task)
        # The seed of what is drawn outside of training, such as the first weights of a loss's parts.
        self.seed = torch.initial_seed() % 2**32
        self._checked = False

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the model's logits (batch, classes).

        Raises:
            TypeError: If the model returns neither a tensor nor something that has one as ``logits``.
            ValueError: If the logits are not (batch, classes) with two classes or more.
        """
        return check_logits(logits_of(self.model(inputs)), f"the model ({type(self.model).__name__})")

    def signals(self, batch: Mapping[str, Tensor]) -> Signals:
        """Return the signals that losses and metrics can ask for on one batch."""
        known = {**batch, "model": self.model}
        if self.baseline is not None:
            known["baseline"] = self.baseline
        return Signals(
            known,
            {"logits": lambda signals: self(signals["inputs"]), "preds": lambda signals: signals["logits"]},
        )

    def terms(self, signals: Signals, step: int) -> Terms:
        """Return the weight and value of each term of the objective at this optimiser step, by name."""
        return {"task": (self.task_weight, self._ask_task(signals))}

    @property
    def learned_explainer(self) -> nn.Module | None:
        """The explainer that is trained with the model and scored; None if there is none."""
        return None

    def trained_by(self, term: str) -> list[nn.Parameter]:
        """Return the parameters that a term must give gradients to."""
        return list(self.model.parameters())

    def setup(self, stage: str) -> None:
        """Take the baseline from the data module, if it has one and none was set."""
        if self.baseline is None:
            self.take_baseline(data_of(self.trainer).description)

    def take_baseline(self, description: Description) -> None:
        """Take from the data the value that stands for an absent feature, if the data know it."""
        if description.baseline is not None:
            self.baseline = description.baseline.to(self.device)

    def prepare(self, batch: object) -> None:
        """Check on one batch that every term can be computed and has a gradient path to what it should train.

        Losses with parts that are sized by the data create them here, so call this before ``fit`` if there are such
        losses. Everything else stays as it was: weights, buffers, modes and random states.

        Raises:
            KeyError: If a term asks for a signal that this stage does not offer.
            TypeError: If a term has no gradient path to what it should train.
        """
        with untouched(self.seed, self), torch.enable_grad():
            self.check_connected(self.terms(self.signals(as_batch(batch)), step=0))

    def check_connected(self, terms: Terms) -> None:
        """Refuse a term that cannot train what it should: a gradient path must exist, even if the gradient is zero.

        Raises:
            TypeError: If a term has no such path, or its value is not a scalar.
        """
        for name, (weight, value) in terms.items():
            parameters = [parameter for parameter in self.trained_by(name) if parameter.requires_grad]
            if weight == 0 or not parameters:
                continue
            if value.ndim != 0:
                raise TypeError(f"term {name!r} must be one number, got shape {tuple(value.shape)}; return its mean")
            reached = value.requires_grad and any(
                gradient is not None
                for gradient in torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
            )
            if not reached:
                raise TypeError(
                    f"term {name!r} gives no gradient to what it should train; choose a differentiable loss or "
                    f"explainer (of kdlab.explainers), or drop the term"
                )
        self._checked = True

    def training_step(self, batch: object, batch_idx: int) -> Tensor:
        """Return the weighted sum of all terms; the epoch mean of each term is accumulated separately."""
        terms = self.terms(self.signals(as_batch(batch)), self.global_step)
        # Under a plain Lightning Trainer nobody has called ``prepare``.
        if not self._checked:
            self.check_connected(terms)
        if self.observe is not None:
            self.observe(terms)
        # No product with 1: on a tiny network each further operation costs about a percent of the step.
        first, *others = [value if weight == 1 else weight * value for weight, value in terms.values()]
        loss = sum(others, start=first)
        self.means.add({"loss": loss, **{name: value for name, (_, value) in terms.items()}})
        return loss

    def validation_step(self, batch: object, batch_idx: int) -> Signals:
        """Return the batch's signals for callbacks such as Evaluate, with the logits already computed."""
        signals = self.signals(as_batch(batch))
        # Asked for here, so that they are computed in the precision of the step.
        signals["logits"]
        return signals

    def test_step(self, batch: object, batch_idx: int) -> Signals:
        """Return the batch's signals, as in validation."""
        return self.validation_step(batch, batch_idx)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's mean of every term, and warn of terms that were zero at every step."""
        for name in self.means.always_zero():
            warnings.warn(f"term {name!r} was exactly zero at every step of epoch {self.current_epoch}", stacklevel=2)
        values = {f"train/{name}": value for name, value in self.means.compute().items()}
        self.means.reset()
        self.log_dict(values)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimiser's parameter groups: one, with the student and the parts of its losses."""
        own = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return [{"params": own}]

    def configure_optimizers(self) -> Any:  # noqa: ANN401  Lightning takes several forms
        """Return the optimiser over the parameter groups, and its scheduler if there is one."""
        optimizer = self._make_optimizer(self.parameter_groups())
        if self._make_scheduler is None:
            return optimizer
        scheduler = self._make_scheduler(optimizer)
        interval = "step" if self._scheduler_every_step else "epoch"
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": interval}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the sums of the running epoch to the checkpoint."""
        checkpoint["kdlab_means"] = self.means.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the sums of the epoch in which the checkpoint was made."""
        self.means.load_state_dict(checkpoint["kdlab_means"], self.device)
