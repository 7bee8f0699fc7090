"""A network trained on labels alone: the teacher, the baseline, and what the other modules build on."""

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
    """``L_s = w * L_p``: the task loss, cross-entropy over the labelled samples of a batch.

    Args:
        model: any network from inputs (batch, ...) to logits (batch, classes), or to a mapping or dataclass that holds
            them as ``logits``.
        task: L_p, a loss that names the signals it needs, or torch's ``CrossEntropyLoss`` or ``MultiMarginLoss`` of the
            labelled samples; cross-entropy if left out.
        task_weight: w, no unit, >= 0.
        optimizer: a callable from parameter groups, such as a torch optimiser's class with its arguments bound.
        scheduler: a callable from the optimiser; None leaves the learning rate as it is.
        scheduler_every_step: whether the scheduler counts optimiser steps and not epochs.

    Attributes:
        baseline: what stands for an absent feature, of one input's shape, for terms that ask for it; taken from a
            kdlab data module, and to be set where there is none.
        observe: called with the terms of each training step while their graph is alive; None for nobody.

    Raises:
        ValueError: If the task weight is negative.
    """

    baseline: Tensor | None
    #: Whether unlabelled samples teach this module anything; where not, its batches hold labelled ones only.
    uses_unlabelled: ClassVar[bool] = False
    #: Whether epochs of gradient steps train it; where not, it needs no trainable weights and no schedule.
    by_gradients: ClassVar[bool] = True
    #: Whether its model predicts any input, so that it can be explained and timed.
    explainable: ClassVar[bool] = True
    #: Whether it is a model and terms of a loss that can be looked at before it trains.
    has_terms: ClassVar[bool] = True
    #: Whether the model is left as it is.
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
        # A buffer, so that it moves with the module; the data has it, so it stands in no checkpoint.
        self.register_buffer("baseline", None, persistent=False)
        self._make_optimizer = optimizer
        self._make_scheduler = scheduler
        self._scheduler_every_step = scheduler_every_step
        self._ask_task = Task(self.task)
        # Of what is drawn outside of training, such as the first weights of a loss's parts.
        self.seed = torch.initial_seed() % 2**32
        self._checked = False

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (batch, classes) of the model.

        Raises:
            TypeError: If the model returns neither a tensor nor something that has one as ``logits``.
            ValueError: If the logits are not (batch, classes) with two classes or more.
        """
        return check_logits(logits_of(self.model(inputs)), f"the model ({type(self.model).__name__})")

    def signals(self, batch: Mapping[str, Tensor]) -> Signals:
        """What this stage offers to losses and metrics for one batch."""
        known = {**batch, "model": self.model}
        if self.baseline is not None:
            known["baseline"] = self.baseline
        return Signals(
            known,
            {"logits": lambda signals: self(signals["inputs"]), "preds": lambda signals: signals["logits"]},
        )

    def terms(self, signals: Signals, step: int) -> Terms:
        """Weight and value of each term of the objective at this optimiser step."""
        return {"task": (self.task_weight, self._ask_task(signals))}

    @property
    def learned_explainer(self) -> nn.Module | None:
        """The explainer that is trained with the model and counts; None where there is none."""
        return None

    def trained_by(self, term: str) -> list[nn.Parameter]:
        """The parameters that a term must reach."""
        return list(self.model.parameters())

    def setup(self, stage: str) -> None:
        """Take the baseline from the data module where it has one."""
        if self.baseline is None:
            self.take_baseline(data_of(self.trainer).description)

    def take_baseline(self, description: Description) -> None:
        """Take from the data what stands for an absent feature, where they know it."""
        if description.baseline is not None:
            self.baseline = description.baseline.to(self.device)

    def prepare(self, batch: object) -> None:
        """Check on one batch that every term can be computed and reaches what it should train, by connection.

        Losses whose parts are sized by the data make them here, so call it before ``fit`` where there are such. All
        else is left as it was: weights, buffers, modes and random states.

        Raises:
            KeyError: If a term asks for a signal that this stage does not offer.
            TypeError: If a term has no gradient path to what it should train.
        """
        with untouched(self.seed, self), torch.enable_grad():
            self.check_connected(self.terms(self.signals(as_batch(batch)), step=0))

    def check_connected(self, terms: Terms) -> None:
        """Refuse a term that cannot train what it should: a gradient path must exist, whatever its value."""
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
        """The weighted sum of all terms; each is accumulated on its own."""
        terms = self.terms(self.signals(as_batch(batch)), self.global_step)
        if not self._checked:
            self.check_connected(terms)
        if self.observe is not None:
            self.observe(terms)
        # Plain sums, and no product with 1: on a tiny net every operation more is a percent of the step.
        first, *others = [value if weight == 1 else weight * value for weight, value in terms.values()]
        loss = sum(others, start=first)
        self.means.add({"loss": loss, **{name: value for name, (_, value) in terms.items()}})
        return loss

    def validation_step(self, batch: object, batch_idx: int) -> Signals:
        """Signals of the batch, for callbacks such as Evaluate; the logits are computed in the step's precision."""
        signals = self.signals(as_batch(batch))
        signals["logits"]
        return signals

    def test_step(self, batch: object, batch_idx: int) -> Signals:
        """As in validation."""
        return self.validation_step(batch, batch_idx)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's mean of every term, and name those that never were anything but zero."""
        for name in self.means.always_zero():
            warnings.warn(f"term {name!r} was exactly zero at every step of epoch {self.current_epoch}", stacklevel=2)
        values = {f"train/{name}": value for name, value in self.means.compute().items()}
        self.means.reset()
        self.log_dict(values)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What the optimiser is given: the student and the parts of its losses."""
        own = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return [{"params": own}]

    def configure_optimizers(self) -> Any:  # noqa: ANN401  Lightning takes several forms
        """The optimiser over the parameter groups, and its scheduler if there is one."""
        optimizer = self._make_optimizer(self.parameter_groups())
        if self._make_scheduler is None:
            return optimizer
        scheduler = self._make_scheduler(optimizer)
        interval = "step" if self._scheduler_every_step else "epoch"
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": interval}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the sums of the running epoch."""
        checkpoint["kdlab_means"] = self.means.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the sums of the epoch in which the checkpoint was made."""
        self.means.load_state_dict(checkpoint["kdlab_means"], self.device)
