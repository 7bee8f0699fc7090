"""The whole batch for losses that compare samples with each other, when it is spread over processes.

Each process computes the loss of the whole batch. As the gradients of all processes are summed on the way back and then
averaged by data-parallel training, value and gradient are those of one process with the whole batch.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _Gather(torch.autograd.Function):
    """Concatenation over processes, whose gradient comes back from all of them."""

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:  # noqa: ANN401  torch types the context loosely
        ctx.count = len(local)
        parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, local)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401  as above
        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient.narrow(0, dist.get_rank() * ctx.count, ctx.count)


def processes() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def own_rows(count: int) -> slice:
    """Return where this process's ``count`` samples stand in the gathered batch."""
    first = dist.get_rank() * count if processes() > 1 else 0
    return slice(first, first + count)


def gathered(*tensors: Tensor) -> list[Tensor]:
    """Return each tensor (batch, ...) with the samples of all processes, in the processes' order, with gradient.

    Raises:
        ValueError: In every process, if they hold unequal numbers of samples.
    """
    if processes() == 1:
        return list(tensors)
    count = torch.tensor([len(tensors[0])], device=tensors[0].device)
    counts = [torch.empty_like(count) for _ in range(processes())]
    dist.all_gather(counts, count)
    sizes = [int(number) for number in counts]
    if len(set(sizes)) > 1:
        raise ValueError(
            f"the processes hold {sizes} samples; a loss between samples needs as many in each, so drop the last batch"
        )
    return [_Gather.apply(tensor.contiguous()) for tensor in tensors]  # type: ignore[no-untyped-call]  # torch's
