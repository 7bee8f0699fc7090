"""A metric, the names under which it takes its signals, and its values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torchmetrics import Metric

from kdlab.explainers.base import Attribution
from kdlab.metrics.base import MedianPerSample, PerSample
from kdlab.signals.vocabulary import Asked

#: Metrics that ask for one of these signals need an explanation, and are computed on the probe set only.
EXPLAINING = frozenset(
    (
        "attributions",
        "teacher_attributions",
        "explained",
        "baseline",
        "attribute",
        "multiplies_by_inputs",
        "explainer_attributions",
    )
)


@dataclass
class Measure:
    """A metric with the names under which it takes its signals; ``explaining`` tells whether it needs an explanation.

    Args:
        metric: any torchmetrics metric whose ``update`` names the signals it needs.
        takes: renames, ``{parameter: signal}``, which can make any metric a metric of fidelity.
        at_test: whether it is computed at test only, because it is too expensive for every epoch.
    """

    metric: Metric
    takes: dict[str, str] = field(default_factory=dict)
    at_test: bool = False

    def __post_init__(self) -> None:
        self.ask = Asked(self.metric.update, self.takes)
        self.explaining = bool(self.ask.names() & EXPLAINING)


class Attribute:
    """An explainer's ``attribute`` as a callable, for metrics that explain again."""

    def __init__(self, explainer: Attribution) -> None:
        self._explainer = explainer
        self.multiplies_by_inputs = explainer.multiplies_by_inputs

    def __call__(self, inputs: Tensor, target: Tensor) -> Tensor:
        """Return attributions of the classes ``target``, of the inputs' shape."""
        return self._explainer.attribute(inputs, target)


def values_of(metrics: Mapping[str, Metric]) -> dict[str, Any]:
    """Return the values of metrics in one flat dictionary by name, with further numbers about them.

    ``<name>_nan`` is the number of samples without a score, if there are any; ``<name>_mean`` is the mean, if the value
    is a median.
    """
    values = flattened({name: metric.compute() for name, metric in metrics.items()})
    for name, metric in metrics.items():
        if isinstance(metric, MedianPerSample):
            values[f"{name}_mean"] = metric.mean()
        if isinstance(metric, PerSample) and int(metric.nan_count):
            values[f"{name}_nan"] = float(metric.nan_count)
    return values


def flattened(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by name; those of a dictionary or vector are each under ``name/key``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flattened({f"{name}/{key}": part for key, part in value.items()})
        elif isinstance(value, Tensor) and value.numel() != 1:
            flat |= {f"{name}/{number}": part for number, part in enumerate(value.flatten())}
        else:
            flat[name] = value
    return flat
