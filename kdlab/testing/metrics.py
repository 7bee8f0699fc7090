"""Properties that every metric promises, for a user's own as for kdlab's.

Each check raises AssertionError with a sentence. They take a function that makes the metric, and the signals by name as
the metric's ``update`` asks for them. Signals of ``WHOLE`` are for all samples; every other tensor has one row a
sample.

    def test_keeps_its_promises() -> None:
        check_metric(MyMetric, {"inputs": inputs, "attributions": attributions})
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from kdlab.metrics.base import PerSample

# A signal may be anything that the running stage offers: a tensor, a model, a callable.
Signals = Mapping[str, Any]

WHOLE = frozenset({"model", "teacher", "baseline", "attribute", "explainer"})


def check_metric(make: Callable[[], Metric], signals: Signals) -> None:
    """Run every check that fits the metric.

    Raises:
        AssertionError: If a promise is broken.
    """
    check_asks_by_name(make)
    check_direction_declared(make)
    check_leaves_nothing_behind(make, signals)
    check_works_in_every_grad_mode(make, signals)
    if isinstance(make(), PerSample):
        check_same_score_alone(make, signals)
    check_batches_add_up(make, signals)


def check_asks_by_name(make: Callable[[], Metric]) -> None:
    """``update`` names each signal, so that only what is asked for is computed."""
    parameters = inspect.signature(make().update).parameters.values()
    loose = [
        parameter.name
        for parameter in parameters
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    promise(not loose, f"update takes {loose}; it must name the signals that it needs")


def check_direction_declared(make: Callable[[], Metric]) -> None:
    """``higher_is_better`` is said by the class: True, False, or None where neither way is better."""
    metric = make()
    own = type(metric).__mro__[: type(metric).__mro__.index(Metric)]
    declared = any("higher_is_better" in vars(base) for base in own)
    promise(declared, f"{type(metric).__name__} declares no higher_is_better")
    promise(metric.higher_is_better in (True, False, None), f"higher_is_better is {metric.higher_is_better!r}")


def check_same_score_alone(make: Callable[[], Metric], signals: Signals, rtol: float = 1e-5) -> None:
    """A sample's score is the same alone, in the batch, and in the batch turned round. For ``PerSample`` metrics."""
    batch = size(signals)
    together = scores(make(), signals)
    turned = scores(make(), pick(signals, torch.arange(batch).flip(0))).flip(0)
    alone = torch.cat([scores(make(), pick(signals, torch.tensor([row]))) for row in range(batch)])
    for name, others in (("in another order", turned), ("alone", alone)):
        message = f"{type(make()).__name__}: scores {name} {others} differ from those in a batch {together}"
        promise(torch.allclose(together, others, rtol=rtol, atol=1e-6, equal_nan=True), message)


def check_batches_add_up(make: Callable[[], Metric], signals: Signals, rtol: float = 1e-5) -> None:
    """The value of two uneven batches is that of one."""
    batch = size(signals)
    whole, parts = make(), make()
    update(whole, signals)
    for rows in (torch.arange(0, 1), torch.arange(1, batch)):
        update(parts, pick(signals, rows))
    in_one, two = whole.compute(), parts.compute()
    for first, second in zip(_values(in_one), _values(two), strict=True):
        same = torch.allclose(first, second, rtol=rtol, atol=1e-6, equal_nan=True)
        promise(same, f"the value of one batch is {in_one}, of two {two}")


def check_works_in_every_grad_mode(make: Callable[[], Metric], signals: Signals) -> None:
    """The value is the same with gradients, without, and under ``inference_mode``; it carries no graph."""
    values = []
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        metric = make()
        with mode():
            update(metric, signals)
            value = metric.compute()
        promise(not any(part.requires_grad for part in _values(value)), f"the value carries a graph: {value}")
        values.append(torch.stack(_values(value)).clone())
    for other in values[1:]:
        promise(
            torch.allclose(values[0], other, rtol=1e-5, atol=1e-6, equal_nan=True), f"values by grad mode: {values}"
        )


def check_leaves_nothing_behind(make: Callable[[], Metric], signals: Signals) -> None:
    """Random state, modes, weights, gradients, ``requires_grad``, hooks and the tensors handed in are as before."""
    modules = {name: value for name, value in signals.items() if isinstance(value, nn.Module)}
    for module in modules.values():
        module.train()
    before, copies, state = _state(modules), _copies(signals), torch.get_rng_state()
    update(make(), signals)
    promise(torch.equal(state, torch.get_rng_state()), "the global random state was moved")
    after = _state(modules)
    for key, value in before.items():
        kept = torch.equal(value, after[key]) if isinstance(value, Tensor) else value == after[key]
        promise(kept, f"{key} was {value}, is {after[key]}")
    for name, tensor in copies.items():
        promise(torch.equal(tensor, signals[name].detach().nan_to_num()), f"{name} was changed in place")


def check_counts_nan(make: Callable[[], Metric], signals: Signals, name: str) -> None:
    """A sample with a NaN has no score and is counted; the mean is that of the others. For ``PerSample`` metrics.

    Args:
        make: Makes the metric.
        signals: By name, two samples or more.
        name: The signal that gets NaN, in the first sample.
    """
    broken = dict(signals)
    broken[name] = signals[name].clone()
    broken[name][0] = torch.nan
    metric, rest = make(), make()
    values = scores(metric, broken)
    promise(bool(values[0].isnan()), f"a sample with a NaN in {name} scores {values[0]}")
    counted = metric.metric_state["nan_count"]
    promise(bool(counted == 1), f"one sample has a NaN in {name}, counted are {counted}")
    update(rest, pick(signals, torch.arange(1, size(signals))))
    promise(torch.allclose(metric.compute(), rest.compute(), rtol=1e-5, atol=1e-6), "the NaN reached the mean")


def check_order_of_features(make: Callable[[], Metric], signals: Signals, order: Tensor) -> None:
    """Scores are the same when features are stored in another order; try it with many equal attributions.

    For ``PerSample`` metrics that draw nothing by place. Inputs, attributions, baseline and mask are put into the
    order, the model and ``attribute`` get them back as they were.

    Args:
        make: Makes the metric.
        signals: By name; among them ``attributions``, whose shape is that of every tensor with features.
        order: (features,), the place of each feature in one sample, flat; for images one that keeps neighbours.
    """
    shape = signals["attributions"].shape[1:]

    def put(values: Tensor, places: Tensor) -> Tensor:
        return values.reshape(-1, shape.numel())[:, places].reshape(values.shape)

    back = order.argsort()
    moved = {
        name: put(value, order) if isinstance(value, Tensor) and value.shape[-len(shape) :] == shape else value
        for name, value in signals.items()
    }
    if "model" in signals:
        moved["model"] = _Reordered(signals["model"], lambda inputs: put(inputs, back))
    if "attribute" in signals:
        moved["attribute"] = lambda inputs, target: put(signals["attribute"](put(inputs, back), target), order)
    here, there = scores(make(), signals), scores(make(), moved)
    message = f"{type(make()).__name__}: scores {here} become {there} when features are stored in another order"
    promise(torch.allclose(here, there, rtol=1e-4, atol=1e-5, equal_nan=True), message)


class _Reordered(nn.Module):
    """A model behind a change of its inputs."""

    def __init__(self, model: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.change = model, change

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the model's logits."""
        logits: Tensor = self.model(self.change(inputs))
        return logits


def promise(kept: bool, message: str) -> None:
    """Raise AssertionError unless the promise is kept; an ``assert`` would vanish under ``python -O``."""
    if not kept:
        raise AssertionError(message)


def size(signals: Signals) -> int:
    """Return the number of samples."""
    return next(len(value) for name, value in signals.items() if isinstance(value, Tensor) and name not in WHOLE)


def pick(signals: Signals, rows: Tensor) -> dict[str, Any]:
    """Return the signals of some samples."""
    return {
        name: value[rows] if isinstance(value, Tensor) and name not in WHOLE else value
        for name, value in signals.items()
    }


def update(metric: Metric, signals: Signals) -> None:
    """Hand the metric the signals that it names."""
    metric.update(**{name: signals[name] for name in inspect.signature(metric.update).parameters if name in signals})


def scores(metric: Metric, signals: Signals) -> Tensor:
    """Return the scores of the samples, (batch,)."""
    if not isinstance(metric, PerSample):
        raise TypeError(
            f"{type(metric).__name__} has no scores of samples; derive it from kdlab.metrics.base.PerSample"
        )
    update(metric, signals)
    return metric.latest


def _values(value: Tensor | dict[str, Tensor]) -> list[Tensor]:
    return list(value.values()) if isinstance(value, dict) else [value]


def _state(modules: Mapping[str, nn.Module]) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for name, module in modules.items():
        for path, part in module.named_modules():
            state[f"{name}.{path} training"] = part.training
            state[f"{name}.{path} hooks"] = (
                len(part._forward_hooks) + len(part._forward_pre_hooks) + len(part._backward_hooks)
            )
        for path, parameter in module.named_parameters():
            state[f"{name}.{path}"] = parameter.detach().clone()
            state[f"{name}.{path} requires_grad"] = parameter.requires_grad
            state[f"{name}.{path} grad"] = None if parameter.grad is None else parameter.grad.clone()
        for path, buffer in module.named_buffers():
            state[f"{name}.{path}"] = buffer.clone()
    return state


def _copies(signals: Signals) -> dict[str, Tensor]:
    return {name: value.detach().nan_to_num().clone() for name, value in signals.items() if isinstance(value, Tensor)}
