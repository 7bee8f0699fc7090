"""A metric, the names under which it takes its signals, and its values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torchmetrics import Metric

from kdlab.explainers.base import Attribution
from kdlab.metrics.base import MedianPerSample, PerSample
from kdlab.signals.vocabulary import Asked

#: Signals that cost an explanation: metrics that ask for one of them are computed on the probe set only.
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
    """A metric, and under which names it takes its signals; ``explaining`` says whether it needs an explanation.

    Args:
        metric: any torchmetrics metric whose ``update`` names the signals it needs.
        takes: renames, ``{parameter: signal}``, which make a fidelity metric of any metric.
        at_test: whether it is left out of validation, because it costs more than an epoch should pay.
    """

    metric: Metric
    takes: dict[str, str] = field(default_factory=dict)
    at_test: bool = False

    def __post_init__(self) -> None:
        self.ask = Asked(self.metric.update, self.takes)
        self.explaining = bool(self.ask.names() & EXPLAINING)


class Attribute:
    """An explainer's ``attribute`` as the callable that metrics which explain again are given."""

    def __init__(self, explainer: Attribution) -> None:
        self._explainer = explainer
        self.multiplies_by_inputs = explainer.multiplies_by_inputs

    def __call__(self, inputs: Tensor, target: Tensor) -> Tensor:
        """Attributions of the classes ``target``, of the inputs' shape."""
        return self._explainer.attribute(inputs, target)


def values_of(metrics: Mapping[str, Metric]) -> dict[str, Any]:
    """The values of metrics by name, flat, and what stands beside them.

    ``<name>_nan`` is how many samples have no score, where there are any; ``<name>_mean`` the mean where the value is a
    median.
    """
    values = flattened({name: metric.compute() for name, metric in metrics.items()})
    for name, metric in metrics.items():
        if isinstance(metric, MedianPerSample):
            values[f"{name}_mean"] = metric.mean()
        if isinstance(metric, PerSample) and int(metric.nan_count):
            values[f"{name}_nan"] = float(metric.nan_count)
    return values


def flattened(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name, those of a dictionary or vector each under ``name/key``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flattened({f"{name}/{key}": part for key, part in value.items()})
        elif isinstance(value, Tensor) and value.numel() != 1:
            flat |= {f"{name}/{number}": part for number, part in enumerate(value.flatten())}
        else:
            flat[name] = value
    return flat
