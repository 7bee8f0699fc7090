"""A student that learns from a teacher's soft labels, features and explanations."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kdlab.data.adopted import data_of
from kdlab.data.batches import as_batch
from kdlab.losses.logits.soft_targets import SoftTargets
from kdlab.modules.ema import EMA
from kdlab.modules.epoch_means import EpochMeans
from kdlab.modules.schedules import Schedule
from kdlab.modules.supervised import Supervised, Terms
from kdlab.modules.teacher_maps import dead_maps, frozen_maps
from kdlab.modules.term import Sized, Term, check_layers, check_names, check_term, given
from kdlab.modules.untouched import untouched
from kdlab.randomness import address, forked
from kdlab.records.soft_labels import SoftLabels
from kdlab.signals.capture import capture
from kdlab.signals.outputs import check_class_order
from kdlab.signals.vocabulary import Asked, Signals
from kdlab.teacher import BlackBox, Teacher


class Distilled(Supervised):
    """``L_s = w * L_p + alpha * L_t`` with ``L_t = sum over k of w_k * D_k``.

    Args:
        model: the student, any network from inputs to logits.
        teacher: the frozen teacher; a stage of an experiment hands it in.
        distill: the terms D_k by name; soft targets if left out.
        alpha: scales every distillation term, no unit, >= 0.
        task: L_p; cross-entropy over the labelled samples if left out.
        task_weight: w, no unit, >= 0. At 0 the student sees no labels.
        optimizer: a callable from parameter groups.
        scheduler: a callable from the optimiser, or None.
        scheduler_every_step: whether the scheduler counts optimiser steps and not epochs.
        alpha_schedule: changes alpha over the epochs, such as ``CosineDecay(60)``.
        task_schedule: changes w over the epochs.
        self_teacher: instead of a teacher, a callable from the student to its running average (``EMA``).

    Raises:
        ValueError: If a weight is negative, a term's name is taken or impossible, or there are a teacher and a
            self_teacher.
        KeyError: If a term asks for a signal that a distilled stage does not offer, or for features without layers.
    """

    uses_unlabelled: ClassVar[bool] = True

    def __init__(
        self,
        model: nn.Module,
        teacher: Teacher | None = None,
        distill: dict[str, Term] | None = None,
        alpha: float = 1.0,
        task: nn.Module | None = None,
        task_weight: float = 1.0,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.AdamW,
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        scheduler_every_step: bool = False,
        alpha_schedule: Schedule | None = None,
        task_schedule: Schedule | None = None,
        self_teacher: Callable[[nn.Module], EMA] | None = None,
    ) -> None:
        super().__init__(
            model,
            task=task,
            task_weight=task_weight,
            optimizer=optimizer,
            scheduler=scheduler,
            scheduler_every_step=scheduler_every_step,
        )
        if alpha < 0:
            raise ValueError(f"alpha must not be negative, got {alpha}")
        if teacher is not None and self_teacher is not None:
            raise ValueError("a teacher and a self_teacher are two answers to one question; drop one of them")
        self.alpha = alpha
        self.average = None if self_teacher is None else self_teacher(model)
        self.teacher = teacher if self.average is None else self.average
        self.distill = distill if distill is not None else {"soft": Term(SoftTargets())}
        check_names(self.distill)
        # Losses are submodules, so that their projectors are optimised and checkpointed; the terms are plain data.
        self.losses = nn.ModuleDict({name: term.loss for name, term in self.distill.items()})
        self._alpha_schedule, self._task_schedule = alpha_schedule, task_schedule
        self._asks = {name: Asked(term.loss.forward, term.takes) for name, term in self.distill.items()}
        self._student_layers = _unique(path for term in self.distill.values() for path in term.layers)
        self._teacher_layers = _unique(path for term in self.distill.values() for path in term.layers.values())
        self._maps: dict[str, SoftLabels] = {}
        self._dead = EpochMeans()
        for name, term in self.distill.items():
            check_term(name, term, self._asks[name])
            if term.frozen_teacher_maps and self.average is not None:
                raise ValueError(f"term {name!r} freezes its teacher's maps, but a self_teacher changes at every step")

    def signals(self, batch: Mapping[str, Tensor]) -> Signals:
        """Return the batch, the student's signals and the teacher's.

        A self_teacher is available to the terms only: metrics of fidelity need a teacher that does not change.
        """
        offered = super().signals(batch)
        return offered if self.average is not None else self._with_teacher(offered)

    def terms(self, signals: Signals, step: int) -> Terms:
        """Return the task term, then each distillation term that is due at this step."""
        signals = self.with_layers(signals)
        terms = super().terms(signals, step)
        if self._task_schedule is not None:
            weight, value = terms["task"]
            terms["task"] = (weight * self._task_schedule.factor(self.current_epoch), value)
        for name, term in self.distill.items():
            if step % term.every_n_steps == 0:
                terms[name] = (self._weight(term), self._value(name, term, signals))
        return terms

    def _weight(self, term: Term) -> float:
        """Return ``alpha * w_k`` for this epoch."""
        if self._alpha_schedule is None and term.schedule is None:
            return self.alpha * term.weight
        epoch = self.current_epoch
        alpha = self.alpha if self._alpha_schedule is None else self.alpha * self._alpha_schedule.factor(epoch)
        return alpha * term.weight_at(epoch)

    def _value(self, name: str, term: Term, signals: Signals) -> Tensor:
        """Return ``D_k``; an error that the loss raises gets the term's name."""
        own, ask = self._of_term(name, term, signals), self._asks[name]
        try:
            value: Tensor = ask(own)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            if type(error) not in (KeyError, TypeError, ValueError, RuntimeError):
                raise  # an error such as out of memory is not the term's fault
            raise type(error)(f"term {name!r}: {error.args[0] if error.args else error}") from error
        if term.explainer is not None and self.training:
            asked = ask.names() & {"attributions", "teacher_attributions"}
            if asked:
                self._dead.add({name: dead_maps(*(own[one] for one in asked))})
        return value

    def prepare(self, batch: object) -> None:
        """Check the layers, let the losses create their sized parts from one batch, then check every term.

        Raises:
            KeyError: If a layer does not exist, or a term asks for a signal that this stage does not offer.
            ValueError: If maps are frozen and the batch has no index and view.
            TypeError: If a term has no gradient path to what it should train.
        """
        named = as_batch(batch)
        for name, term in self.distill.items():
            # A black box has no layers to check, and refuses them with a message of its own.
            if term.layers and not isinstance(self.teacher, BlackBox):
                check_layers(name, dict.fromkeys(term.layers, self.model))
                check_layers(name, dict.fromkeys(term.layers.values(), self._the_teacher().network))
            if term.frozen_teacher_maps and not {"index", "view"} <= named.keys():
                raise ValueError(
                    f"term {name!r} freezes its teacher's maps, which needs batches with index and view; kdlab's data "
                    f"without augment have them, else set frozen_teacher_maps to false"
                )
        sized = [(name, term, term.loss) for name, term in self.distill.items() if isinstance(term.loss, Sized)]
        if sized:
            # The losses are left out, because what they create here must stay.
            networks = [module for name, module in self.named_children() if name != "losses"]
            with torch.no_grad(), untouched(self.seed, *networks):
                signals = self.with_layers(self.signals(named))
                for name, term, loss in sized:
                    # A seed of its own, so that a further term does not change what another begins with.
                    with forked(address(self.seed, "parts", name)):
                        loss.prepare(**given(loss, term.takes, self._of_term(name, term, signals)))
        super().prepare(batch)

    def setup(self, stage: str) -> None:
        """Refuse a teacher whose classes differ from the data's, if both name their classes; take the data's baseline.

        Raises:
            ValueError: If the classes differ, or stand in another order.
        """
        super().setup(stage)
        of_data = data_of(self.trainer).description.class_names
        of_teacher = None if self.teacher is None else self.teacher.class_names
        if of_data is not None and of_teacher is not None:
            check_class_order(of_teacher, of_data, "the teacher")

    def on_fit_start(self) -> None:
        """Move the teacher to this device; Lightning does not, because the teacher is no submodule."""
        if self.teacher is not None:
            self.teacher.to(self.device)

    # A module can be validated or tested without having been trained before.
    on_validation_start = on_fit_start
    on_test_start = on_fit_start

    def on_train_start(self) -> None:
        """Explain all training samples once for each term with frozen maps; a TypeError if the data are not kdlab's."""
        data = data_of(self.trainer)
        for name, term in self.distill.items():
            explainer = term.teacher_explainer or term.explainer
            if not term.frozen_teacher_maps or explainer is None:
                continue
            if not data.samples:
                raise TypeError(f"term {name!r} freezes its teacher's maps, which needs a kdlab data module")
            self._maps[name] = frozen_maps(self._the_teacher(), explainer, data, self.device)

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        """Update the student's running average for the steps made so far."""
        if self.average is not None:
            self.average.follow(self.model, self.global_step)

    def on_train_epoch_end(self) -> None:
        """Log the terms, weights that have a schedule, and how many maps were zero everywhere."""
        super().on_train_epoch_end()
        weights = {
            f"train/{name}_weight": self._weight(term)
            for name, term in self.distill.items()
            if self._alpha_schedule is not None or term.schedule is not None
        }
        dead = {f"train/{name}_dead": count for name, count in self._dead.totals().items()}
        self._dead.reset()
        if weights or dead:
            self.log_dict(weights | dead)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the student's running average and the epoch's counts to the checkpoint."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["kdlab_dead"] = self._dead.state_dict()
        if self.average is not None:
            checkpoint["kdlab_average"] = self.average.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the student's running average and the epoch's counts."""
        super().on_load_checkpoint(checkpoint)
        self._dead.load_state_dict(checkpoint["kdlab_dead"], self.device)
        if self.average is not None:
            self.average.load_state_dict(checkpoint["kdlab_average"])

    def _the_teacher(self) -> Teacher:
        if self.teacher is None:
            raise ValueError(f"{type(self).__name__} needs a teacher: Distilled(model, Teacher(network), ...)")
        return self.teacher

    def _with_teacher(self, signals: Signals) -> Signals:
        teacher = self._the_teacher()
        return signals.joined(
            {"teacher": teacher},
            {
                # A reduced cache may serve training; metrics must compare with the teacher itself.
                "teacher_logits": lambda s: teacher.logits(s) if self.training else teacher.exact_logits(s),
                "explained": lambda s: s["teacher_logits"].argmax(dim=1),
            },
        )

    def with_layers(self, signals: Signals) -> Signals:
        """Add logits and the tensors of all named layers, from one forward pass each of the student and the teacher."""
        if self.average is not None and "teacher" not in signals:
            signals = self._with_teacher(signals)
        teacher, layers = self._the_teacher(), self._student_layers
        if not layers or "captured" in signals:
            return signals
        with capture(self.model, layers) as captured:
            logits = self(signals["shown" if "shown" in signals else "inputs"])
            of_student = dict(zip(layers, captured.ordered(layers), strict=True))
        # The teacher's features need a forward pass anyway, so its live logits cost nothing more.
        teacher_logits, features = teacher.logits_and_features(signals, self._teacher_layers)
        of_teacher = dict(zip(self._teacher_layers, features, strict=True))
        return signals.joined(
            {
                "logits": logits,
                "preds": logits,
                "captured": of_student,
                "teacher_logits": teacher_logits,
                "explained": teacher_logits.argmax(dim=1),
                "teacher_captured": of_teacher,
            }
        )

    def _of_term(self, name: str, term: Term, signals: Signals) -> Signals:
        """Return the signals for one term: features of its own layers, attributions by its own explainer."""
        known: dict[str, Any] = {}
        computed: dict[str, Callable[[Signals], Any]] = {}
        teacher, explainer = self._the_teacher(), term.explainer
        if term.layers:
            known["features"] = [signals["captured"][path] for path in term.layers]
            known["teacher_features"] = [signals["teacher_captured"][path] for path in term.layers.values()]
        if explainer is not None:
            of_teacher, maps = term.teacher_explainer or explainer, self._maps.get(name)
            computed["attributions"] = lambda s: explainer(self.model).attribute(s["inputs"], s["explained"])
            if maps is None:
                computed["teacher_attributions"] = lambda s: teacher.attributions(
                    s["inputs"], s["explained"], of_teacher
                )
            else:
                computed["teacher_attributions"] = lambda s: maps.rows(s["index"], s["view"]).view_as(s["inputs"])
        return signals.joined(known, computed) if known or computed else signals


def _unique(paths: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(paths))
