"""What a training step costs under kdlab, beside the loop that one would write by hand.

    python -m benchmarks.overhead [--rounds 9] [--steps 20] [--threads 1]

Both sides train equal networks on equal batches with equal losses and run alternately in one process; the ratio is the
median over rounds of kdlab's time a step by the other's in the same round.
"""

import argparse
import logging
import shlex
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import lightning.pytorch as L
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measuring import machine, now
from kdlab.data.loader import ShuffledLoader
from kdlab.models.conv_net import ConvNet
from kdlab.models.mlp import MLP
from kdlab.modules.distilled import Distilled
from kdlab.modules.supervised import Supervised
from kdlab.records.soft_labels import SoftLabels
from kdlab.teacher import Teacher

CLASSES, TEMPERATURE = 10, 4.0
Batch = dict[str, Tensor]
Loss = Callable[[Batch, Tensor], Tensor]
#: Trains for so many steps and returns the seconds a step.
Side = Callable[[int], float]


@dataclass(frozen=True)
class Comparison:
    """Two ways to do the same training."""

    name: str
    kdlab: Side
    other: str
    by_hand: Side


class Clock(L.Callback):
    """Time from the first batch's start to the last batch's end: no set-up, no validation."""

    seconds = 0.0

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Batch, number: int) -> None:
        """Start with the first batch."""
        if number == 0:
            self.seconds = -now()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: object, batch: Batch, number: int
    ) -> None:
        """Stop with the last batch."""
        if trainer.is_last_batch:
            self.seconds += now()


class Bare(L.LightningModule):
    """The least one writes for Lightning."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def training_step(self, batch: Batch, number: int) -> Tensor:
        """The loss."""
        return self.loss(batch, self.model(batch["inputs"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """What kdlab takes unless told otherwise."""
        return torch.optim.AdamW(self.model.parameters())


def cross_entropy(batch: Batch, logits: Tensor) -> Tensor:
    return F.cross_entropy(logits, batch["target"])


def distillation(teacher_logits: Callable[[Batch], Tensor]) -> Loss:
    """Cross-entropy and soft targets, as a person would write them."""

    def loss(batch: Batch, logits: Tensor) -> Tensor:
        student = F.log_softmax(logits / TEMPERATURE, dim=1)
        teacher = F.log_softmax(teacher_logits(batch) / TEMPERATURE, dim=1)
        soft = F.kl_div(student, teacher, log_target=True, reduction="batchmean")
        return cross_entropy(batch, logits) + TEMPERATURE**2 * soft

    return loss


def batches(steps: int, size: int, shape: tuple[int, ...], views: bool = True) -> ShuffledLoader:
    count = steps * size
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "inputs": torch.randn(count, *shape, generator=generator),
        "target": torch.randint(CLASSES, (count,), generator=generator),
        "index": torch.arange(count),
    }
    if views:
        tensors["view"] = torch.zeros(count, dtype=torch.int64)
    return ShuffledLoader(tensors, size, seed=0)


def under_lightning(make: Callable[[], L.LightningModule], loader: Callable[[int], ShuffledLoader]) -> Side:
    def run(steps: int) -> float:
        clock = Clock()
        trainer = L.Trainer(
            max_epochs=1,
            accelerator="cpu",
            callbacks=[clock],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(make(), loader(steps))
        return clock.seconds / steps

    return run


def in_a_loop(make: Callable[[], nn.Module], loss: Loss, loader: Callable[[int], ShuffledLoader]) -> Side:
    def run(steps: int) -> float:
        model, data, total = make().train(), loader(steps), torch.zeros(())
        optimizer = torch.optim.AdamW(model.parameters())
        started = now()
        for batch in data:
            value = loss(batch, model(batch["inputs"]))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            total += value.detach()
        return (now() - started) / steps

    return run


def comparisons(steps: int) -> Iterator[Comparison]:
    """Conv net with cached and with live soft labels against a loop; a tiny MLP against Lightning alone."""
    network = ConvNet(CLASSES, width=32)
    teacher = Teacher(network)
    table = torch.randn(steps * 128, CLASSES)

    def images(count: int) -> ShuffledLoader:
        return batches(count, 128, (1, 28, 28))

    def unseen_images(count: int) -> ShuffledLoader:
        return batches(count, 128, (1, 28, 28), views=False)

    def rows(count: int) -> ShuffledLoader:
        return batches(count, 64, (64,))

    def small() -> nn.Module:
        return ConvNet(CLASSES, width=16)

    def tiny() -> nn.Module:
        return MLP(64, CLASSES, hidden=[16])

    cached = Teacher(network, SoftLabels(table))
    from_table = distillation(lambda batch: table[batch["index"]])

    @torch.no_grad()
    def live(batch: Batch) -> Tensor:
        logits: Tensor = network(batch["inputs"])
        return logits

    yield Comparison(
        "conv net, cached soft labels",
        under_lightning(lambda: Distilled(small(), cached), images),
        "PyTorch loop",
        in_a_loop(small, from_table, images),
    )
    yield Comparison(
        "conv net, live teacher",
        under_lightning(lambda: Distilled(small(), teacher), unseen_images),
        "PyTorch loop",
        in_a_loop(small, distillation(live), unseen_images),
    )
    yield Comparison(
        "tiny MLP, labels",
        under_lightning(lambda: Supervised(tiny()), rows),
        "Lightning alone",
        under_lightning(lambda: Bare(tiny(), cross_entropy), rows),
    )
    yield Comparison(
        "tiny MLP, cached soft labels",
        under_lightning(lambda: Distilled(tiny(), cached), rows),
        "Lightning alone",
        under_lightning(lambda: Bare(tiny(), from_table), rows),
    )


def measure(comparison: Comparison, rounds: int, steps: int) -> tuple[list[float], list[float]]:
    """Seconds a step of both sides, round by round; each goes first in every other round."""
    sides = (comparison.kdlab, comparison.by_hand)
    for side in sides:  # warm caches and allocators
        side(steps)
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            torch.manual_seed(number)
            times[which].append(sides[which](steps))
    return times


def row(comparison: Comparison, times: tuple[list[float], list[float]]) -> list[str]:
    ratios = sorted(kdlab / other for kdlab, other in zip(*times, strict=True))
    kdlab, other = (f"{1000 * statistics.median(side):.2f}" for side in times)
    spread = f"{ratios[len(ratios) // 4]:.2f} to {ratios[-1 - len(ratios) // 4]:.2f}"
    return [comparison.name, comparison.other, kdlab, other, f"{statistics.median(ratios):.2f}", spread]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--steps", type=int, default=20, help="steps of a conv net in each round; a tiny MLP takes ten times as many"
    )
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="1: CPU time on one core, for a busy machine"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    table = Table(
        "training step",
        "beside",
        "kdlab ms",
        "other ms",
        "ratio",
        "half of the rounds",
        title=machine("lightning"),
    )
    for comparison in comparisons(10 * arguments.steps):
        steps = arguments.steps if comparison.name.startswith("conv") else 10 * arguments.steps
        table.add_row(*row(comparison, measure(comparison, arguments.rounds, steps)))
    console = Console(width=max(120, Console().width))
    console.print(table)
    console.print(f"{arguments.rounds} rounds, alternating: python -m benchmarks.overhead {shlex.join(sys.argv[1:])}")


if __name__ == "__main__":
    main()
