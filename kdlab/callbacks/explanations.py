"""Scoring a model's attributions on a probe: the post-hoc method's, the learned explainer's, and controls."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from kdlab.callbacks.controls import moved, shuffled, untrained
from kdlab.callbacks.measure import Attribute, Measure
from kdlab.explainers.base import Attribution, explaining
from kdlab.signals.vocabulary import Asked, Signals

#: The signal that measures ask for if they compare with the teacher.
COMPARED = "teacher_attributions"


@dataclass(frozen=True)
class _Other:
    """Attributions from another source than the post-hoc method on this model.

    Args:
        signals: the model's signals, with these attributions in place of its own.
        fits: a callable from the names that a measure asks for; it returns whether the measure can score these
            attributions.
    """

    signals: Signals
    fits: Callable[[frozenset[str]], bool]


class Explanations:
    """Scores the attributions of one post-hoc method and, beside them, those of an explainer trained with the model.

    The explained class is the model's own prediction, or the teacher's for metrics that compare with
    ``teacher_attributions``.

    Args:
        make: the method, a callable from the model; the same for every model compared.
    """

    def __init__(self, make: Callable[[nn.Module], Attribution]) -> None:
        self._make = make
        self._of_teacher: dict[str, Tensor] = {}

    def forget(self) -> None:
        """Forget the teacher's attributions, which may be those of an earlier run."""
        self._of_teacher = {}

    def check(self, module: lightning.LightningModule, signals: Signals) -> None:
        """Explain a batch as at test: in eval mode, so that no statistics change, and in inference mode.

        Raises:
            TypeError: If the method needs gradients, which inference mode does not allow.
            ValueError: If its attributions have another shape than the inputs.
        """
        # ``explaining`` is used for eval mode only; whether gradients are on is decided by inference mode inside it.
        with explaining(module), torch.inference_mode():
            inputs, explained = signals["inputs"], signals["logits"].argmax(dim=1)
            try:
                attributions = self._make(signals["model"]).attribute(inputs, explained)
            except RuntimeError as error:
                raise TypeError(
                    f"the explainer of evaluate cannot explain in inference mode ({error}); name captum's methods "
                    f"through the adapter: {{class_path: Captum, init_args: {{method: captum.attr.Saliency}}}}"
                ) from error
        if attributions.shape != inputs.shape:
            raise ValueError(
                f"the explainer of evaluate gives shape {tuple(attributions.shape)}, "
                f"the inputs have {tuple(inputs.shape)}"
            )

    def scored(
        self, signals: Signals, measures: Mapping[str, Measure], split: str, baseline: Tensor, controls: bool
    ) -> dict[str, Metric]:
        """Return metrics that hold their scores, by name: of the measures, the learned explainer and the controls.

        Args:
            signals: of the probe.
            measures: those that need an explanation; they hold the post-hoc method's scores afterwards.
            split: the split of the probe; the teacher's attributions of it are computed once.
            baseline: the value of an absent feature.
            controls: whether controls are scored too: attributions that know nothing of the model, or of the sample.
        """
        own, shared = self._explained(signals, baseline, split)
        for measure in measures.values():
            measure.ask(shared if COMPARED in measure.ask.names() else own)
        metrics: dict[str, Metric] = {name: measure.metric for name, measure in measures.items()}
        others: dict[str, _Other] = {}
        if "explainer" in own:
            others["explainer"] = _Other(_as_attributions(own, own["explainer"]), _without_teacher)
        if controls:
            others |= self._controls(own, shared)
        for prefix, other in others.items():
            metrics |= dict(_scored_for_another(prefix, other, measures))
        return metrics

    def _explained(self, signals: Signals, baseline: Tensor, split: str) -> tuple[Signals, Signals]:
        """Return signals in which the model's own class is explained, and signals in which the teacher's is."""
        explainer = self._make(signals["model"])
        explained_by = {"baseline": baseline, **_callable(explainer)}

        def attributions(given: Signals) -> Tensor:
            return explainer.attribute(given["inputs"], given["explained"])

        own = signals.joined(
            {**explained_by, "explained": signals["logits"].argmax(dim=1)}, {"attributions": attributions}
        )
        if "teacher" not in signals or not signals["teacher"].explainable:
            return own, own
        shared = signals.joined(
            {**explained_by, "explained": signals["teacher_logits"].argmax(dim=1)},
            {"attributions": attributions, COMPARED: lambda s: self._teachers(s, split)},
        )
        return own, shared

    def _teachers(self, signals: Signals, split: str) -> Tensor:
        """Return the teacher's attributions of a probe; neither changes, so they are computed once for each split."""
        if split not in self._of_teacher:
            with torch.inference_mode(False):
                attributions = signals["teacher"].attributions(signals["inputs"], signals["explained"], self._make)
            self._of_teacher[split] = attributions
        return self._of_teacher[split]

    def _controls(self, own: Signals, shared: Signals) -> dict[str, _Other]:
        """Return attributions that know nothing of the model, and the teacher's for another sample of the class."""
        inputs = own["inputs"]
        index = own["index"] if "index" in own else torch.arange(len(inputs), device=inputs.device)
        elsewhere = own.joined({"attributions": moved(own["attributions"], index)})
        # Moved attributions come from no explainer, so measures that explain again cannot score them.
        controls = {"explanation/random": _Other(elsewhere, lambda a: _without_teacher(a) and "attribute" not in a)}
        model = untrained(own["model"])
        if model is not None:
            copys = _as_attributions(own, self._make(model))
            # A measure that changes the model and explains again would get the unchanged copy's explanations.
            again = frozenset({"attribute", "model"})
            controls["explanation/untrained"] = _Other(copys, lambda a: _without_teacher(a) and not again <= a)
        if COMPARED in shared:
            theirs = _anothers(shared, index)
            controls["explanation/shuffled"] = _Other(theirs, lambda a: COMPARED in a)
        return controls


def _without_teacher(asked: frozenset[str]) -> bool:
    return not asked & {COMPARED, "teacher_logits"}


def _anothers(shared: Signals, index: Tensor) -> Signals:
    """Return signals with the teacher's attributions of another sample, which are computed if a measure asks."""
    return shared.joined({}, {COMPARED: lambda s: shuffled(shared[COMPARED], s["explained"], index)})


def _scored_for_another(prefix: str, other: _Other, measures: Mapping[str, Measure]) -> Iterator[tuple[str, Metric]]:
    """Yield the metrics of the measures that can score other attributions, with their names."""
    for name, measure in measures.items():
        if not other.fits(measure.ask.names()):
            continue
        # The measure's own metric must keep the post-hoc method's scores.
        metric = measure.metric.clone()
        metric.reset()
        Asked(metric.update, measure.takes)(other.signals)
        yield f"{prefix}/{name.removeprefix('explanation/')}", metric


def _callable(explainer: Any) -> dict[str, Any]:  # noqa: ANN401  an Attribution, perhaps a module
    """Return the explainer as a callable that can explain again, and the kind of its attributions."""
    return {"attribute": Attribute(explainer), "multiplies_by_inputs": explainer.multiplies_by_inputs}


def _as_attributions(signals: Signals, explainer: Any) -> Signals:  # noqa: ANN401  as above
    return signals.joined(
        _callable(explainer),
        {"attributions": lambda given: explainer.attribute(given["inputs"], given["explained"])},
    )
