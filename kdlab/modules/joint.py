"""A student and its explainer, trained at the same time."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kdlab.data.batches import as_batch
from kdlab.losses.logits.soft_targets import SoftTargets
from kdlab.modules.distilled import Distilled
from kdlab.modules.ema import EMA
from kdlab.modules.explainer_side import ExplainerSide
from kdlab.modules.masking import Masks
from kdlab.modules.parameter_groups import apart, only
from kdlab.modules.schedules import Schedule
from kdlab.modules.supervised import Supervised, Terms
from kdlab.modules.term import Term
from kdlab.randomness import address
from kdlab.signals.vocabulary import Signals
from kdlab.teacher import Teacher


class Joint(Distilled):
    """``L = L_s + lambda * L_e`` with ``L_e = L_i + beta * L_c`` and the explainer's own terms.

    ``L_i = KL(p_s || q)`` and ``L_c = sum over classes of (p_s - q)^2``, where p_s is the student's distribution and q
    is the explainer's prediction of it; see ``ExplainerSide``. After each validation, the numbers that the explainer
    reports about itself and its training data are logged as ``train/explainer/<name>``. Its lag behind the student is
    logged as ``val/explainer/lag``, measured on the first validation batch from the second validation on (see ``Lag``).

    Gradients pass between student and explainer only if ``couple`` is set. Without it, the student learns exactly what
    it would learn in ``Distilled``, bit for bit: the explainer sees detached outputs and has its own parameter group,
    clipping and random stream.

    A student can be its own surrogate for Shapley values (``masked_share``), can be helped by its explainer
    (``help_back``), or can be frozen. With a frozen student, ``L = lambda * L_e`` alone, and a finished student is
    explained afterwards.

    Args:
        model: the student.
        explainer: a callable from the student to a module with ``forward(inputs) -> logits`` and ``attribute``.
        teacher: the frozen teacher; a stage of an experiment hands it in.
        distill: the terms of L_t by name; soft targets if left out.
        alpha: scales every distillation term, >= 0.
        beta: weight of L_c within L_e, >= 0; 0 only drops L_c.
        explain_weight: lambda, >= 0; 0 switches the explainer off.
        couple: whether L_e also shapes the student, so that it becomes easier to explain.
        explainer_lr: the explainer's learning rate; that of the optimiser if left out.
        explain_schedule: changes lambda over the epochs.
        masked_share: share of training batches, in [0, 1], in which random parts of the student's inputs are replaced
            by the baseline; the labels and the teacher's logits stay those of the whole inputs. 0 masks nothing.
        help_back: weight of ``KL(q || p_s)`` for the student with q detached, which makes the explainer's prediction a
            soft label; >= 0.
        freeze: whether the student stays unchanged, in eval mode and without gradient; distill, alpha and task then
            have no effect.
        task, task_weight, optimizer, scheduler, scheduler_every_step, alpha_schedule, task_schedule, self_teacher: as
            in Distilled.

    Raises:
        ValueError: If a weight or share is out of range, or another argument would change a frozen student.
    """

    def __init__(
        self,
        model: nn.Module,
        explainer: Callable[[nn.Module], nn.Module],
        teacher: Teacher | None = None,
        distill: dict[str, Term] | None = None,
        alpha: float = 1.0,
        beta: float = 1.0,
        explain_weight: float = 1.0,
        couple: bool = False,
        explainer_lr: float | None = None,
        task: nn.Module | None = None,
        task_weight: float = 1.0,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.AdamW,
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        scheduler_every_step: bool = False,
        alpha_schedule: Schedule | None = None,
        task_schedule: Schedule | None = None,
        self_teacher: Callable[[nn.Module], EMA] | None = None,
        explain_schedule: Schedule | None = None,
        masked_share: float = 0.0,
        help_back: float = 0.0,
        freeze: bool = False,
    ) -> None:
        super().__init__(
            model,
            teacher=teacher,
            distill=distill,
            alpha=alpha,
            task=task,
            task_weight=task_weight,
            optimizer=optimizer,
            scheduler=scheduler,
            scheduler_every_step=scheduler_every_step,
            alpha_schedule=alpha_schedule,
            task_schedule=task_schedule,
            self_teacher=self_teacher,
        )
        if min(beta, explain_weight, help_back) < 0:
            weights = f"{beta}, {explain_weight} and {help_back}"
            raise ValueError(f"beta, explain_weight and help_back must not be negative, got {weights}")
        if help_back > 0 and explain_weight == 0:
            raise ValueError("help_back needs an explainer that learns: set explain_weight above 0")
        if freeze and (couple or help_back or masked_share or self_teacher or not explain_weight):
            raise ValueError(
                "freeze leaves the student as it is: couple, help_back, masked_share and self_teacher would change it, "
                "and explain_weight 0 would train nothing; drop them"
            )
        self.explain_weight, self.help_back, self.frozen = explain_weight, help_back, freeze
        self.explainer = explainer(model)
        self._explainer_lr = explainer_lr
        self._explain_schedule = explain_schedule
        self._side = ExplainerSide(self.explainer, beta, couple, self.seed)
        self._masks = Masks(masked_share, self.explainer, address(self.seed, "masks"))
        self._help = SoftTargets(temperature=1.0)
        if freeze:
            self._freeze()

    def _freeze(self) -> None:
        if not any(parameter.requires_grad for parameter in self.explainer.parameters()):
            raise ValueError(
                f"{type(self.explainer).__name__} has no weights to train on a frozen student; it is fitted at each "
                f"epoch's end of a joint stage, which is the same as afterwards"
            )
        self.model.requires_grad_(False)
        self.model.eval()

    def train(self, mode: bool = True) -> Self:
        """Set the mode as torch does; a frozen student stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.model.eval()
        return self

    @property
    def learned_explainer(self) -> nn.Module | None:
        """The explainer; None if its weight is 0."""
        return self.explainer if self.explain_weight > 0 else None

    def signals(self, batch: Mapping[str, Tensor]) -> Signals:
        """Return the signals of a distilled stage and those of the explainer; a frozen student needs no teacher."""
        if self.frozen and self.teacher is None:
            own: Signals = Supervised.signals(self, batch)
            offered = own.joined({}, {"explained": lambda signals: signals["logits"].argmax(dim=1)})
        else:
            offered = super().signals(batch)
        return offered.joined(
            {"explainer": self.explainer},
            {
                "explainer_logits": lambda signals: self.explainer(signals["inputs"]),
                "explainer_attributions": lambda signals: self.explainer.attribute(  # type: ignore[operator]  # only asked for if it exists
                    signals["inputs"], signals["explained"]
                ),
            },
        )

    def terms(self, signals: Signals, step: int) -> Terms:
        """Return the student's terms, then the explainer's."""
        terms: Terms = {}
        shown, student = self._shown(signals), signals
        if not self.frozen:
            # One forward pass serves both, unless the student sees a masked batch and the explainer the whole one.
            student = self.with_layers(signals if shown is None else shown)
            signals = student if shown is None else signals
            terms = super().terms(student, step)
        if self.explain_weight == 0:
            return terms
        scale = self.explain_weight
        if self._explain_schedule is not None:
            scale *= self._explain_schedule.factor(self.current_epoch)
        seen, own = self._side.terms(signals, masked=shown is not None)
        for name, (weight, value) in own.items():
            terms[f"explainer/{name}"] = (scale * weight, value)
        if self.help_back > 0:
            terms["help_back"] = (self.help_back, self._help(student["logits"], seen["explainer_logits"].detach()))
        return terms

    def _shown(self, signals: Signals) -> Signals | None:
        """Return signals with a masked batch for the student, or None if the student sees the whole batch."""
        if self._masks.share == 0 or not self.training:
            return None
        inputs = self._masks.shown(signals["inputs"], self.baseline)
        if inputs is None:
            return None
        return signals.joined({"shown": inputs}, {"logits": lambda s: self(s["shown"]), "preds": lambda s: s["logits"]})

    def trained_by(self, term: str) -> list[nn.Parameter]:
        """Return the explainer's parameters for the explainer's terms, else the student's."""
        return list((self.explainer if term.startswith("explainer/") else self.model).parameters())

    def prepare(self, batch: object) -> None:
        """Check on one batch that every term trains something; with a frozen student, the explainer's terms only."""
        # The check draws from both streams, and training must begin as if there had been no check.
        side, masks = self._side.state_dict(), self._masks.state_dict()
        try:
            if self.frozen:
                Supervised.prepare(self, batch)
            else:
                super().prepare(batch)
        finally:
            self._side.load_state_dict(side, self.device)
            self._masks.load_state_dict(masks)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the student's group with the parts of its losses, then the explainer's group."""
        (student,) = super().parameter_groups()
        return apart(student["params"], self.explainer, self._explainer_lr)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip student and explainer separately: a common norm would let the explainer shorten the student's steps."""
        for group in optimizer.param_groups:
            with only(optimizer, group):
                self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        """Refit a fitted explainer after the epoch's last batch, before validation."""
        if self.trainer.is_last_batch and self.explain_weight > 0:
            self._side.refit(self.refit_batches())

    def on_validation_batch_end(self, outputs: object, batch: object, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Note the outputs of student and explainer on the first batch."""
        first = batch_idx == dataloader_idx == 0 and not self.trainer.sanity_checking
        if first and self.explain_weight > 0 and isinstance(outputs, Signals):
            self._side.see(outputs)

    def on_validation_epoch_end(self) -> None:
        """Log the numbers that the explainer reports about itself, and its lag."""
        if self.explain_weight == 0 or self.trainer.sanity_checking:
            return
        self.log_dict({f"train/explainer/{name}": value for name, value in self._side.numbers().items()})
        self.log_dict({f"val/explainer/{name}": value for name, value in self._side.lag().items()})

    def refit_batches(self) -> Iterator[Mapping[str, Tensor]]:
        """Yield the training data once more, in batches on this device; the loader that trains keeps its position."""
        loader = self.trainer.train_dataloader
        for batch in copy(loader) if loader is not None else ():
            yield as_batch(self.transfer_batch_to_device(batch, self.device, 0))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the states of the random streams and the student's last outputs to the checkpoint."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["kdlab_explainer"] = self._side.state_dict()
        checkpoint["kdlab_masks"] = self._masks.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the states of the random streams and the student's last outputs."""
        super().on_load_checkpoint(checkpoint)
        self._side.load_state_dict(checkpoint["kdlab_explainer"], self.device)
        self._masks.load_state_dict(checkpoint["kdlab_masks"])
