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
    """Return costs by name; lower is better for each.

    ``parameters`` and ``bytes`` are the model's own, and ``flops`` are those of one prediction (``operations``). A
    model without weights, such as a fitted estimator, has neither ``parameters`` nor ``flops``, because 0 would mean
    that it is free. All times are in milliseconds: ``latency_ms`` is the median time of a prediction of one sample, and
    ``latency_batch_ms`` that of the given batch divided by its size. ``explanation_ms`` is the time of the post-hoc
    explanation and ``explainer_ms`` that of the learned explainer's, both for the batch and divided by its size.

    ``explained_ms`` is the time of prediction and learned explanation in one call (``Explained``) for one sample, and
    ``explained_batch_ms`` that of the batch divided by its size. ``explanation_ratio`` is what the explanation adds to
    the prediction of that batch, relative to the prediction: ``(both - prediction) / prediction``, from the fastest
    time of each, measured in turn. It is >= 0 except for noise; at 1 an explained answer takes twice as long. Times
    depend on the machine and its load.

    ``prediction_memory_bytes`` is the memory that the prediction of that batch needs beside model and inputs
    (``PeakMemory``). It is left out if it cannot be measured, or if on a CPU it is hidden by memory that the process
    holds already.

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
    """Return the number of floating point operations of the matrix products and convolutions in one forward pass.

    A product of (a, b) and (b, c) counts ``2 a b c``. Attention and recurrent layers are counted too: torch's counter
    does not know their fused kernels, so the plain ones are used here. Operations on single elements (activations,
    normalisation) are not counted.

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
        # The switch below restores a setting for Intel's GPUs, and torch warns about that.
        warnings.filterwarnings("ignore", message="TF32 acceleration on top of oneDNN")
        stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
        stack.enter_context(torch.no_grad())
        counter = stack.enter_context(FlopCounterMode(display=False))
        model(inputs)
    return int(counter.get_total_flops())


class PeakMemory:
    """A ``with`` block that measures the most memory held at once inside it, above what was held at its start.

    On a GPU this is what torch's allocator handed out, which is exact. On a CPU it is the resident set of the whole
    process, which Linux measures in pages; memory that was freed before and is used again does not show. ``bytes`` is
    None until the block ends, if the system does not tell, and on a CPU if nothing shows.

    Args:
        device: the device on which the work is done.
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
    """Make Linux measure the process's largest resident set anew, and return whether that worked."""
    try:
        # 5 resets the peak and nothing else: proc(5), /proc/[pid]/clear_refs.
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _resident(name: str) -> int | None:
    """Return the process's resident set (VmRSS) or its peak (VmHWM) in bytes, or None if the system does not tell."""
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
        # The fastest of each, since other load only adds time, and not equally to both.
        "explanation_ratio": (min(together) - min(prediction)) / min(prediction),
    }


def _milliseconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the median wall time of a call in milliseconds, after two calls to warm up."""
    return median(_in_turn([work], repeats)[0]) * 1e3


def _in_turn(works: Sequence[Callable[[], object]], repeats: int) -> list[list[float]]:
    """Return the wall times, in seconds, of several calls made in turn, after two of each to warm up."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(repeats + 2):
        for taken, work in zip(times, works, strict=True):
            started = perf_counter()
            with torch.inference_mode():
                work()
            if torch.cuda.is_available():
                # CUDA calls return before the work is done.
                torch.cuda.synchronize()
            taken.append(perf_counter() - started)
    return [taken[2:] for taken in times]
