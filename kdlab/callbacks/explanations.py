"""What a model's attributions are worth on a probe: the post-hoc method's, the learned explainer's, controls."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn

from kdlab.callbacks.controls import random_attributions, untrained
from kdlab.callbacks.measure import Attribute, Measure
from kdlab.explainers.base import Attribution, explaining
from kdlab.signals import Asked, Signals


@dataclass(frozen=True)
class _Other:
    """Attributions of the same model by somebody else.

    Args:
        signals: the model's, with these attributions.
        unfit: a measure that asks for all of these cannot score them.
    """

    signals: Signals
    unfit: frozenset[str] | None = None


class Explanations:
    """Scores the attributions of one post-hoc method, and beside them those of an explainer that trains along.

    The explained class is the model's own prediction; for metrics that compare with ``teacher_attributions`` it is the
    teacher's.

    Args:
        make: the method, a callable from the model; the same for every model compared.
    """

    def __init__(self, make: Callable[[nn.Module], Attribution]) -> None:
        self._make = make
        self._of_teacher: dict[str, Tensor] = {}

    def forget(self) -> None:
        """Let go of the teacher's attributions of another run."""
        self._of_teacher = {}

    def check(self, module: lightning.LightningModule, signals: Signals) -> None:
        """Explain a batch as at test: in eval mode, so that no statistics move, and in inference mode.

        Raises:
            TypeError: If the method needs gradients that it cannot have there.
            ValueError: If its attributions have another shape than the inputs.
        """
        # The frame is opened for the modes alone; the mode that counts is opened within.
        with explaining(module), torch.inference_mode():
            inputs, explained = signals["inputs"], signals["logits"].argmax(dim=1)
            try:
                found = self._make(signals["model"]).attribute(inputs, explained)
            except RuntimeError as error:
                raise TypeError(
                    f"the explainer of evaluate cannot explain in inference mode ({error}); name captum's methods "
                    f"through the adapter: {{class_path: Captum, init_args: {{method: captum.attr.Saliency}}}}"
                ) from error
        if found.shape != inputs.shape:
            raise ValueError(
                f"the explainer of evaluate gives shape {tuple(found.shape)}, the inputs have {tuple(inputs.shape)}"
            )

    def scores(
        self, signals: Signals, measures: Mapping[str, Measure], split: str, baseline: Tensor, controls: bool
    ) -> dict[str, Any]:
        """The value of each measure by name, then those of the learned explainer and of the controls.

        Args:
            signals: of the probe.
            measures: those that need an explanation; they are left holding the post-hoc method's scores.
            split: whose probe it is; the teacher's attributions of it are computed once.
            baseline: what stands for an absent feature.
            controls: whether attributions that know nothing of the model are scored, too.
        """
        own, shared = self._explained(signals, baseline, split)
        values = {}
        for name, measure in measures.items():
            compares = "teacher_attributions" in measure.ask.names()
            measure.ask(shared if compares else own)
            values[name] = measure.metric.compute()
        others: dict[str, _Other] = {}
        if "explainer" in own:
            others["explainer"] = _Other(_as_attributions(own, own["explainer"]))
        if controls:
            others |= self._controls(own)
        for prefix, other in others.items():
            values |= _scores_of_another(prefix, other, measures)
        return values

    def _explained(self, signals: Signals, baseline: Tensor, split: str) -> tuple[Signals, Signals]:
        """Signals with the model's own class explained, and with the teacher's."""
        explainer = self._make(signals["model"])
        known = {"baseline": baseline, "attribute": Attribute(explainer)}

        def attributions(given: Signals) -> Tensor:
            return explainer.attribute(given["inputs"], given["explained"])

        own = signals.joined({**known, "explained": signals["logits"].argmax(dim=1)}, {"attributions": attributions})
        if "teacher" not in signals:
            return own, own
        shared = signals.joined(
            {**known, "explained": signals["teacher_logits"].argmax(dim=1)},
            {"attributions": attributions, "teacher_attributions": lambda s: self._teachers(s, split)},
        )
        return own, shared

    def _teachers(self, signals: Signals, split: str) -> Tensor:
        """The teacher's attributions of a probe: neither changes, so they are computed once a split."""
        if split not in self._of_teacher:
            with torch.inference_mode(False):
                found = signals["teacher"].attributions(signals["inputs"], signals["explained"], self._make)
            self._of_teacher[split] = found
        return self._of_teacher[split]

    def _controls(self, own: Signals) -> dict[str, _Other]:
        """Attributions that know nothing of the model."""
        noise = own.joined({"attributions": random_attributions(own["attributions"])})
        # Noise has nothing that explains again.
        found = {"explanation/random": _Other(noise, frozenset({"attribute"}))}
        model = untrained(own["model"])
        if model is not None:
            copys = _as_attributions(own, self._make(model))
            # Who changes the model and asks for explanations again gets the copy's, which stay as they are.
            found["explanation/untrained"] = _Other(copys, frozenset({"attribute", "model"}))
        return found


def _scores_of_another(prefix: str, other: _Other, measures: Mapping[str, Measure]) -> dict[str, Any]:
    """The values of measures that no teacher has a say in, for other attributions of the same model."""
    values = {}
    for name, measure in measures.items():
        asked = measure.ask.names()
        if asked & {"teacher_attributions", "teacher_logits"} or (other.unfit is not None and other.unfit <= asked):
            continue
        metric = measure.metric.clone()
        metric.reset()
        Asked(metric.update, measure.takes)(other.signals)
        values[f"{prefix}/{name.removeprefix('explanation/')}"] = metric.compute()
    return values


def _as_attributions(signals: Signals, explainer: Any) -> Signals:  # noqa: ANN401  a module that is an Attribution
    return signals.joined(
        {"attribute": Attribute(explainer)},
        {"attributions": lambda given: explainer.attribute(given["inputs"], given["explained"])},
    )
