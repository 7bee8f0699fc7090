"""What a model costs: parameters, bytes, operations, time of a prediction and of an explanation."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kdlab.explainers.base import Attribution
from kdlab.explainers.explained import Explained

#: How often each call is timed, after two to warm up; a general explanation takes longer and needs fewer.
REPEATS, FEWER = 21, 5


def costs(
    model: nn.Module, inputs: Tensor, explainer: Attribution | None, learned: nn.Module | None
) -> dict[str, float]:
    """Costs by name, each lower is better.

    ``parameters`` and ``bytes`` are the model's own, ``flops`` of one prediction (``operations``); a model without
    weights, such as a fitted estimator, has neither ``parameters`` nor ``flops``, for 0 would say that it is free.
    ``latency_ms`` is the median time of a prediction of one sample, ``latency_batch_ms`` of a batch a sample,
    ``explanation_ms`` of the post-hoc explanation a sample and ``explainer_ms`` of the learned explainer's, both in
    that batch.

    ``explained_ms`` is the time of prediction and learned explanation in one call (``Explained``) for one sample, and
    ``explained_batch_ms`` in the batch a sample. ``explanation_ratio`` is what the explanation adds to the prediction
    in that batch, in the model's own forwards: ``(both - prediction) / prediction`` of the fastest of each, timed in
    turn; >= 0 but for noise, and 1 doubles the price of an answer. Times depend on the machine and its load.

    ``prediction_memory_bytes`` is what the prediction of that batch needs beside model and inputs (``PeakMemory``);
    left out where it cannot be measured, and on a CPU where it is lost in what the process holds already.

    Args:
        model: in eval mode.
        inputs: (batch, ...), the batch that is timed.
        explainer: the post-hoc explainer, or None.
        learned: the explainer that was trained with the model, or None.
    """
    sample = inputs[:1]
    with torch.inference_mode(), PeakMemory(inputs.device) as memory:
        model(inputs)
    weights = sum(p.numel() for p in model.parameters())
    tensors = [*model.parameters(), *model.buffers()]
    values = {"parameters": float(weights)} if weights else {}
    values["bytes"] = float(sum(t.numel() * t.element_size() for t in tensors))
    if weights:
        values["flops"] = float(operations(model, sample))
    values["latency_ms"] = _milliseconds(lambda: model(sample))
    values["latency_batch_ms"] = _milliseconds(lambda: model(inputs)) / len(inputs)
    if memory.bytes is not None:
        values["prediction_memory_bytes"] = memory.bytes
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


def operations(model: nn.Module, inputs: Tensor) -> int:
    """Return the floating point operations of the matrix products and convolutions in a forward of these inputs.

    A product of (a, b) and (b, c) counts ``2 a b c``. Attention and recurrent layers are counted too, because they are
    taken apart here: the plain mathematical kernels are asked for in place of the fused ones, of which torch's counter
    knows nothing. What is done element by element (activations, normalisation) is not counted.

    Args:
        model: in eval mode.
        inputs: (batch, ...).
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        stack.enter_context(warnings.catch_warnings())
        # Of a setting for Intel's GPUs, which the switch below writes back as it was.
        warnings.filterwarnings("ignore", message="TF32 acceleration on top of oneDNN")
        stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
        stack.enter_context(torch.no_grad())
        counter = stack.enter_context(FlopCounterMode(display=False))
        model(inputs)
    return int(counter.get_total_flops())


class PeakMemory:
    """The most memory that the work inside a ``with`` held at once, above what was held at its start, in bytes.

    On a GPU what torch's allocator handed out, exact. On a CPU the resident set of the whole process, which Linux
    measures in pages; memory that was freed before and is used again does not show. ``bytes`` is None while the work is
    under way, where the system does not tell, and on a CPU where nothing shows.

    Args:
        device: where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes: float | None = None
        self._before: int | None = None

    def __enter__(self) -> Self:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
        else:
            self._before = _resident("VmRSS") if self.device.type == "cpu" and _forgot_peak() else None
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is None:
            return
        gpu = self.device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(self.device) if gpu else _resident("VmHWM")
        if peak is not None and (gpu or peak > self._before):
            self.bytes = float(peak - self._before)


def _forgot_peak() -> bool:
    """Have Linux measure the process's largest resident set anew; whether it does."""
    try:
        # 5 resets the peak and nothing else: proc(5), /proc/[pid]/clear_refs.
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _resident(name: str) -> int | None:
    """The process's resident set (VmRSS) or its peak (VmHWM), in bytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")]
    return sizes[0] if sizes else None


def _in_one_call(model: nn.Module, learned: Attribution, inputs: Tensor) -> dict[str, float]:
    both, sample = Explained(model, learned), inputs[:1]
    prediction, together, alone = _in_turn([lambda: model(inputs), lambda: both(inputs), lambda: both(sample)], REPEATS)
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
