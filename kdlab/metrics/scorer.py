"""The engine of metrics that perturb inputs: many versions of a batch, scored in chunks that fit the cache."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from kdlab.metrics.checks import check_classes
from kdlab.metrics.numerics import at_least_float32
from kdlab.signals.outputs import logits_of

# A network may return more than its logits, see ``logits_of``.
Model = Callable[[Tensor], Any]

# Measured on two CPUs: a chunk whose activations leave the cache costs a small conv net twice the time.
CPU_BYTES, CPU_ROWS = 8 * 2**20, 4096
GPU_ROWS = 65536


class _Bytes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves its base without types
    """Adds up the bytes of every tensor that is made while it is on; views cost nothing."""

    total = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        result = func(*args, **(kwargs or {}))
        given = {_address(tensor) for tensor in args if isinstance(tensor, Tensor)}
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, Tensor) and _address(tensor) not in given:
                self.total += tensor.numel() * tensor.element_size()
        return result


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def rows_per_chunk(function: Callable[[Tensor], Tensor], row: Tensor) -> int:
    """Return how many rows to compute at once, from the bytes that one row makes inside the function.

    Args:
        function: The model, or an attribution of it.
        row: One input, (1, ...).
    """
    with _Bytes() as made:  # type: ignore[no-untyped-call]  # as above
        function(row)
    bytes_a_row: int = max(1, made.total)
    if row.device.type == "cuda":
        free = int(torch.cuda.mem_get_info(row.device)[0])
        return max(1, min(GPU_ROWS, free // 4 // bytes_a_row))
    return max(1, min(CPU_ROWS, CPU_BYTES // bytes_a_row))


@contextmanager
def undisturbed(model: object, like: Tensor) -> Iterator[None]:
    """Put the model into eval mode and leave its modes and the random state as they were, also after an error."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [(module, module.training) for module in modules]
    devices = [like.device] if like.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        try:
            if isinstance(model, nn.Module) and any(training for _, training in modes):
                model.eval()
            yield
        finally:
            for module, training in modes:
                module.training = training


class Scorer:
    """The score f(x) of the explained class, for the batch and for changed versions of it.

    Args:
        model: Inputs (batch, ...) -> logits (batch, classes). Called in eval mode, without gradients.
        inputs: (batch, ...).
        explained: (batch,), the class explained, the same for every version of a sample.
        on_logits: The logit of that class; else its probability (softmax).
        chunk: How many rows to compute at once; by default as many as the activations' bytes allow.

    Raises:
        ValueError: If the explained class is none of the model's, or the chunk is not positive.
    """

    def __init__(
        self, model: Model, inputs: Tensor, explained: Tensor, on_logits: bool = False, chunk: int | None = None
    ) -> None:
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk must be 1 or more, got {chunk}")
        self.model = model
        self.inputs = inputs.detach()
        self.explained = explained
        self.on_logits = on_logits
        self.chunk = chunk
        self._classes: int | None = None

    def clean(self) -> Tensor:
        """Return f(x): (batch,)."""
        return self.versions(1, lambda samples, _: self.inputs[samples]).squeeze(1)

    def versions(self, count: int, build: Callable[[slice, slice], Tensor]) -> Tensor:
        """Return f of every version of every sample: (batch, count).

        Args:
            count: How many versions a sample has.
            build: Given a slice of samples and one of versions, returns these inputs, anything that reshapes to
                (samples x versions, ...), versions running fastest. Called once a chunk.
        """
        batch = self.inputs.shape[0]
        if batch == 0 or count == 0:
            return at_least_float32(self.inputs.new_zeros(batch, count))
        with undisturbed(self.model, self.inputs), torch.no_grad():
            if self.chunk is None:
                self.chunk = rows_per_chunk(self._checked, self.inputs[:1])
            parts = []
            for samples, versions in tiles(batch, count, self.chunk):
                built = build(samples, versions).reshape(-1, *self.inputs.shape[1:])
                parts.append(self._score(built, samples).flatten())
        return torch.cat(parts).reshape(batch, count)

    def _score(self, built: Tensor, samples: slice) -> Tensor:
        logits = at_least_float32(self._checked(built))
        explained = self.explained[samples]
        grouped = logits.reshape(explained.shape[0], -1, logits.shape[1])
        chosen = explained.view(-1, 1, 1).expand(-1, grouped.shape[1], 1)
        scores = grouped.gather(2, chosen).squeeze(2)
        return scores if self.on_logits else (scores - grouped.logsumexp(dim=2)).exp()

    def _checked(self, built: Tensor) -> Tensor:
        logits = logits_of(self.model(built))
        if self._classes is None:
            if logits.dim() != 2 or logits.shape[0] != built.shape[0]:
                raise ValueError(f"the model must return (batch, classes), got {tuple(logits.shape)}")
            check_classes(self.explained, self.inputs.shape[0], logits.shape[1], "explained")
            self._classes = logits.shape[1]
        return logits


def tiles(batch: int, count: int, chunk: int) -> Iterator[tuple[slice, slice]]:
    """Cut a table of samples x versions into tiles of at most ``chunk`` cells, sample by sample, in even pieces."""
    if count <= chunk:
        pieces = -(-batch // max(1, chunk // count))
        height = -(-batch // pieces)
        for start in range(0, batch, height):
            yield slice(start, min(start + height, batch)), slice(0, count)
    else:
        width = -(-count // -(-count // chunk))
        for sample in range(batch):
            for start in range(0, count, width):
                yield slice(sample, sample + 1), slice(start, min(start + width, count))
