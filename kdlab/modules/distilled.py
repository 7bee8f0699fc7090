"""A student that learns from a teacher's soft labels, features and explanations."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kdlab.capture import capture
from kdlab.data.batches import as_batch
from kdlab.losses.logits.soft_targets import SoftTargets
from kdlab.modules.supervised import Supervised, Terms
from kdlab.modules.term import Term
from kdlab.signals import Asked, Signals
from kdlab.teacher import Teacher


@runtime_checkable
class Sized(Protocol):
    """A loss with parts that are sized by the data: it makes them from one batch, before there is an optimiser."""

    # Each loss names the signals it needs, so the parameters are open.
    def prepare(self, *args: Any, **kwargs: Any) -> None: ...  # noqa: ANN401, D102


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

    Raises:
        ValueError: If a weight is negative.
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
    ) -> None:
        super().__init__(model, task, task_weight, optimizer, scheduler, scheduler_every_step)
        if alpha < 0:
            raise ValueError(f"alpha must not be negative, got {alpha}")
        self.alpha = alpha
        self.teacher = teacher
        self.distill = distill if distill is not None else {"soft": Term(SoftTargets())}
        # Losses are submodules, so that their projectors are optimised and checkpointed; the terms are plain data.
        self.losses = nn.ModuleDict({name: term.loss for name, term in self.distill.items()})
        self._asks = {name: Asked(term.loss.forward, term.takes) for name, term in self.distill.items()}
        self._student_layers = _unique(path for term in self.distill.values() for path in term.layers)
        self._teacher_layers = _unique(path for term in self.distill.values() for path in term.layers.values())
        for name, term in self.distill.items():
            _check_term(name, term, self._asks[name])

    def signals(self, batch: Mapping[str, Tensor]) -> Signals:
        """The batch, the student's signals and the teacher's."""
        teacher = self._the_teacher()
        return (
            super()
            .signals(batch)
            .joined(
                {"teacher": teacher},
                {
                    "teacher_logits": lambda signals: teacher.logits(batch),
                    "explained": lambda signals: signals["teacher_logits"].argmax(dim=1),
                },
            )
        )

    def terms(self, signals: Signals, step: int) -> Terms:
        """The task term, then each distillation term that counts at this step."""
        signals = self.with_layers(signals)
        terms = super().terms(signals, step)
        for name, term in self.distill.items():
            if step % term.every_n_steps == 0:
                terms[name] = (self.alpha * term.weight, self._asks[name](self._of_term(term, signals)))
        return terms

    def prepare(self, batch: object) -> None:
        """Let the losses size their parts on one batch, then check every term."""
        sized = [(term, term.loss) for term in self.distill.values() if isinstance(term.loss, Sized)]
        if sized:
            with torch.no_grad():
                signals = self.with_layers(self.signals(as_batch(batch)))
                for term, loss in sized:
                    loss.prepare(**_given(loss, term.takes, self._of_term(term, signals)))
        super().prepare(batch)

    def on_fit_start(self) -> None:
        """The teacher is no submodule, so nobody else moves it."""
        self._the_teacher().to(self.device)

    on_validation_start = on_fit_start
    on_test_start = on_fit_start

    def _the_teacher(self) -> Teacher:
        if self.teacher is None:
            raise ValueError(f"{type(self).__name__} needs a teacher: Distilled(model, Teacher(network), ...)")
        return self.teacher

    def with_layers(self, signals: Signals) -> Signals:
        """Logits and the tensors of all named layers in one forward, of the student and of the teacher, once."""
        teacher, layers = self._the_teacher(), self._student_layers
        if not layers or "captured" in signals:
            return signals
        with capture(self.model, layers) as captured:
            logits = self(signals["inputs"])
            of_student = dict(zip(layers, captured.ordered(layers), strict=True))
        # Live logits, since the teacher's forward is paid for; they equal the cached ones.
        teacher_logits, features = teacher.logits_and_features(signals["inputs"], self._teacher_layers)
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

    def _of_term(self, term: Term, signals: Signals) -> Signals:
        """The signals of one term: features of its own layers, attributions by its own explainer."""
        known: dict[str, Any] = {}
        computed: dict[str, Callable[[Signals], Any]] = {}
        teacher, explainer = self._the_teacher(), term.explainer
        if term.layers:
            known["features"] = [signals["captured"][path] for path in term.layers]
            known["teacher_features"] = [signals["teacher_captured"][path] for path in term.layers.values()]
        if explainer is not None:
            of_teacher = term.teacher_explainer or explainer
            computed["attributions"] = lambda s: explainer(self.model).attribute(s["inputs"], s["explained"])
            computed["teacher_attributions"] = lambda s: teacher.attributions(s["inputs"], s["explained"], of_teacher)
        return signals.joined(known, computed) if known or computed else signals


def _unique(paths: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(paths))


def _given(loss: Sized, takes: Mapping[str, str], signals: Signals) -> dict[str, Any]:
    """The arguments of a loss's ``prepare``: it knows its signals by the same parameter names as ``forward``."""
    renamed = {parameter: takes.get(parameter, parameter) for parameter in Asked(loss.prepare).needed}
    return {parameter: signals[name] for parameter, name in renamed.items()}


def _check_term(name: str, term: Term, asked: Asked) -> None:
    """Refuse a term that asks for what only its own settings could give."""
    needed = set(asked.needed.values())
    if needed & {"features", "teacher_features"} and not term.layers:
        raise KeyError(
            f"term {name!r} asks for features; name its layers: {{path in the student: path in the teacher}}"
        )
    if needed & {"attributions", "teacher_attributions"} and term.explainer is None:
        raise KeyError(f"term {name!r} asks for attributions; give it an explainer such as InputGradient")
    if term.layers and not (asked.names() & {"features", "teacher_features"}):
        raise KeyError(f"term {name!r} names layers, but {type(term.loss).__name__} asks for no features; drop them")
