"""What a model costs: parameters, bytes, operations, time of a prediction and of an explanation."""

from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from kdlab.explainers.base import Attribution
from kdlab.explainers.explained import Explained

#: How often each call is timed, after two to warm up; a general explanation takes longer and needs fewer.
REPEATS, FEWER = 21, 5


def costs(
    model: nn.Module, inputs: Tensor, explainer: Attribution | None, learned: nn.Module | None
) -> dict[str, float]:
    """Costs by name, each lower is better.

    ``parameters`` and ``bytes`` are the model's own, ``flops`` of one prediction, ``latency_ms`` the median time of a
    prediction of one sample, ``latency_batch_ms`` of a batch a sample, ``explanation_ms`` of the post-hoc explanation
    a sample and ``explainer_ms`` of the learned explainer's, both in that batch.

    ``explained_ms`` is the time of prediction and learned explanation in one call (``Explained``) for one sample, and
    ``explained_batch_ms`` in the batch a sample. ``explanation_ratio`` is what the explanation adds to the prediction
    in that batch, in the model's own forwards: ``(both - prediction) / prediction`` of the fastest of each, timed in
    turn; >= 0 but for noise, and 1 doubles the price of an answer. Times depend on the machine and its load.

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
    target = torch.zeros(len(inputs), dtype=torch.long, device=inputs.device)
    if explainer is not None:
        values["explanation_ms"] = _milliseconds(lambda: explainer.attribute(inputs, target), FEWER) / len(inputs)
    if learned is not None:
        # An average of the student that an explainer keeps is no parameter of the explanation.
        values["explainer_parameters"] = float(sum(p.numel() for p in learned.parameters() if p.requires_grad))
        values["explainer_ms"] = _milliseconds(lambda: learned(inputs), FEWER) / len(inputs)
        if isinstance(learned, Attribution):
            values["explainer_ms"] = _milliseconds(lambda: learned.attribute(inputs, target), FEWER) / len(inputs)
            values |= _in_one_call(model, learned, inputs)
    return values


def _in_one_call(model: nn.Module, learned: Attribution, inputs: Tensor) -> dict[str, float]:
    both, one = Explained(model, learned), inputs[:1]
    prediction, together, alone = _in_turn([lambda: model(inputs), lambda: both(inputs), lambda: both(one)], REPEATS)
    return {
        "explained_ms": median(alone) * 1e3,
        "explained_batch_ms": median(together) * 1e3 / len(inputs),
        # The fastest of each: what else the machine does only ever adds, and would add to the one and not the other.
        "explanation_ratio": (min(together) - min(prediction)) / min(prediction),
    }


def _milliseconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median wall time of a call after two to warm up."""
    return median(_in_turn([work], repeats)[0]) * 1e3


def _in_turn(works: Sequence[Callable[[], object]], repeats: int) -> list[list[float]]:
    """Wall times, in seconds, of calls that take turns, after two of each to warm up."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(repeats + 2):
        for taken, work in zip(times, works, strict=True):
            started = perf_counter()
            with torch.inference_mode():
                work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            taken.append(perf_counter() - started)
    return [taken[2:] for taken in times]
