"""What the pairwise losses hold in memory, beside how they are often written.

    python -m benchmarks.loss_memory

Bytes are the allocator's own record over forward and backward, the layers themselves not counted: the same on every
machine.
"""

import argparse
import os
from collections.abc import Callable, Iterable, Iterator

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from benchmarks.measuring import Work, machine
from kdlab.losses.features.nst import NST
from kdlab.losses.relations.rkd_angle import RKDAngle

MEBIBYTE = 2**20


def peak_bytes(work: Work) -> int:
    """Most bytes that the work held at a time, from the allocator's own record: forward and backward."""
    work()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    held = most = 0
    events = recorded.profiler.kineto_results.events()
    for event in sorted((event for event in events if event.name() == "[memory]"), key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def cubic_angles(student: Tensor, teacher: Tensor) -> Tensor:
    """RKD's angles as they are often written: differences of all pairs, their products, everything kept."""

    def angles(vectors: Tensor) -> Tensor:
        apart = F.normalize(vectors[None] - vectors[:, None], dim=2)
        return torch.bmm(apart, apart.transpose(1, 2))

    return F.smooth_l1_loss(angles(student), angles(teacher))


def pairwise_nst(student: Tensor, teacher: Tensor) -> Tensor:
    """NST as it is often written: the kernel of every pair of channels of every sample with those of the batch."""

    def kernel(first: Tensor, second: Tensor) -> Tensor:
        products: Tensor = (first[:, :, None] * second[:, None]).sum(dim=3).square()
        return products.mean()

    ours, theirs = F.normalize(student.flatten(2), dim=2), F.normalize(teacher.flatten(2), dim=2)
    return kernel(ours, ours) + kernel(theirs, theirs) - 2 * kernel(ours, theirs)


def memory_rows(batches: Iterable[int] = (32, 64, 128, 256, 512)) -> Iterator[list[str]]:
    """Peak of forward and backward beyond the layers themselves."""

    def measured(loss: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...]) -> float:
        torch.manual_seed(0)
        student, teacher = torch.randn(shape, requires_grad=True), torch.randn(shape)

        def work() -> None:
            student.grad = None
            loss(student, teacher).backward()

        return peak_bytes(work) / MEBIBYTE

    angle, transfer = RKDAngle(), NST()
    for batch in batches:
        for width in (512, 4096):
            shape = (batch, width)
            ours = measured(lambda s, t: angle([s], [t]), shape)
            small = 4 * batch**2 * width <= 2**30
            naive = f"{measured(cubic_angles, shape):.0f}" if small else f"> {4 * batch**2 * width / MEBIBYTE:.0f}"
            bound = 4 * (batch**2 + batch * width) / MEBIBYTE
            yield ["RKDAngle", str(batch), str(width), f"{bound:.1f}", f"{ours:.1f}", naive]
        for channels, side in ((32, 14), (128, 7)):
            maps = (batch, channels, side, side)
            ours = measured(lambda s, t: transfer([s], [t]), maps)
            width = channels * side**2
            bound = 4 * (batch**2 + batch * width) / MEBIBYTE
            small = 4 * batch * channels * width <= 2**30
            naive = (
                f"{measured(pairwise_nst, maps):.0f}" if small else f"> {4 * batch * channels * width / MEBIBYTE:.0f}"
            )
            yield ["NST", str(batch), f"{channels} x {side} x {side}", f"{bound:.1f}", f"{ours:.1f}", naive]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loss_memory")
    parser.parse_args()
    # The profiler's library greets on each start otherwise.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    table = Table("loss", "batch", "width", "B² + B·d, MiB", "peak, MiB", "as often written, MiB", title=machine())
    for row in sorted(memory_rows(), key=lambda row: row[0], reverse=True):
        table.add_row(*row)
    console = Console(width=max(120, Console().width))
    console.print(table)
    console.print("python -m benchmarks.loss_memory")


if __name__ == "__main__":
    main()
