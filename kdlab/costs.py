"""What a model costs: parameters, bytes, operations, time of a prediction and of an explanation."""

from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from kdlab.explainers.base import Attribution


def costs(
    model: nn.Module, inputs: Tensor, explainer: Attribution | None, learned: nn.Module | None
) -> dict[str, float]:
    """Costs by name, each lower is better.

    ``parameters`` and ``bytes`` are the model's own, ``flops`` of one prediction, ``latency_ms`` the median time of a
    prediction of one sample, ``latency_batch_ms`` of a batch a sample, ``explanation_ms`` of the post-hoc explanation
    a sample and ``explainer_ms`` of the learned explainer's, both in that batch. Times depend on the
    machine and its load.

    Args:
        model: in eval mode.
        inputs: (batch, ...), the batch that is timed.
        explainer: the post-hoc explainer, or None.
        learned: the explainer that was trained with the model, or None.
    """
    one = inputs[:1]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(one)
    values = {
        "parameters": float(sum(p.numel() for p in model.parameters())),
        "bytes": float(sum(t.numel() * t.element_size() for t in [*model.parameters(), *model.buffers()])),
        "flops": float(counter.get_total_flops()),
        "latency_ms": _milliseconds(lambda: model(one)),
        "latency_batch_ms": _milliseconds(lambda: model(inputs)) / len(inputs),
    }
    if explainer is not None:
        target = torch.zeros(len(inputs), dtype=torch.long, device=inputs.device)
        values["explanation_ms"] = _milliseconds(lambda: explainer.attribute(inputs, target), 5) / len(inputs)
    if learned is not None:
        # An average of the student that an explainer keeps is no parameter of the explanation.
        values["explainer_parameters"] = float(sum(p.numel() for p in learned.parameters() if p.requires_grad))
        values["explainer_ms"] = _milliseconds(lambda: learned(inputs), 5) / len(inputs)
        if isinstance(learned, Attribution):
            target = torch.zeros(len(inputs), dtype=torch.long, device=inputs.device)
            values["explainer_ms"] = _milliseconds(lambda: learned.attribute(inputs, target), 5) / len(inputs)
    return values


def _milliseconds(work: Callable[[], object], repeats: int = 21) -> float:
    """Median wall time of a call after two to warm up."""
    times = []
    for _ in range(repeats + 2):
        started = perf_counter()
        with torch.no_grad():
            work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(perf_counter() - started)
    return median(times[2:]) * 1e3
