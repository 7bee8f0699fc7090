"""Explanation metrics beside Quantus and captum on the same work, and beside the bare forward passes.

    python -m benchmarks.explanation_metrics [--rounds 5] [--threads 1]

Quantus is optional: pip install 'kdlab[bench]'. All sides explain the same samples of the same model by the same
input gradients, run alternately in one process, and get whole batches where they take them. Ratios are medians over
the rounds; the last columns are the mean scores, which must agree as far as the draws are the same.
"""

import argparse
import shlex
import statistics
import sys
import warnings
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import Work, alternately, machine, ratio
from benchmarks.other_libraries import (
    DRAWS,
    MOVES,
    RADIUS,
    SUBSET,
    Explained,
    Side,
    captum_sides,
    quantus_sides,
)
from kdlab.metrics.deletion_auc import DeletionAUC
from kdlab.metrics.faithfulness_correlation import FaithfulnessCorrelation, faithfulness_correlation
from kdlab.metrics.infidelity import Infidelity
from kdlab.metrics.scorer import rows_per_chunk
from kdlab.metrics.sensitivity import MaxSensitivity
from kdlab.models.conv_net import ConvNet
from kdlab.models.mlp import MLP

PERTURBING = ("model", "inputs", "attributions", "explained", "baseline")
MOVING = ("inputs", "attributions", "explained", "attribute")


def own_subsets(explained: Explained) -> Side:
    """Faithfulness correlation with subsets of its own for each sample, drawn anew, as Quantus draws."""

    def side() -> float:
        features = explained.inputs[0].numel()
        order = torch.rand(len(explained.inputs), DRAWS, features).argsort(dim=2)[:, :, :SUBSET]
        subsets = torch.zeros(len(order), DRAWS, features, dtype=torch.bool).scatter_(2, order, True)
        with torch.no_grad():
            scores = faithfulness_correlation(
                explained.model,
                explained.inputs,
                explained.attributions,
                explained.target,
                explained.baseline,
                subsets,
            )
        return float(scores.nanmean())

    return side


@dataclass(frozen=True)
class Comparison:
    """One metric by kdlab and by another, on the same work."""

    metric: str
    ours: Side
    other: str
    theirs: Side


def comparisons(explained: Explained) -> list[Comparison]:
    """Every metric that another library has, once for each library that is installed."""
    features = explained.inputs[0].numel()
    shared = FaithfulnessCorrelation(draws=DRAWS, share=SUBSET / features)
    ours = {
        "deletion AUC": explained.updated(DeletionAUC(units_per_step=1), *PERTURBING),
        "faithfulness correlation": own_subsets(explained),
        "faithfulness correlation, shared subsets": explained.updated(shared, *PERTURBING),
        "max-sensitivity": explained.updated(MaxSensitivity(radius=RADIUS, draws=MOVES), *MOVING),
        "infidelity": explained.updated(Infidelity(draws=DRAWS), *PERTURBING, "multiplies_by_inputs"),
    }
    found = [Comparison(name, ours[name], "captum", side) for name, side in captum_sides(explained).items()]
    try:
        theirs = quantus_sides(explained)
    except ModuleNotFoundError:
        print("Quantus is not installed (pip install 'kdlab[bench]'): captum alone")
        return found
    theirs["faithfulness correlation, shared subsets"] = theirs["faithfulness correlation"]
    return [Comparison(name, ours[name], "Quantus", side) for name, side in theirs.items()] + found


def beside_libraries(explained: Explained, rounds: int) -> Table:
    title = f"{len(explained.inputs)} samples of {explained.inputs[0].numel()} features"
    table = Table("metric", "beside", "kdlab ms", "other ms", "times as fast", "mean score", "other's", title=title)
    for one in comparisons(explained):
        times = alternately([one.ours, one.theirs], rounds)
        ours, theirs = (f"{1000 * statistics.median(side):.1f}" for side in times)
        scores = f"{one.ours():.4g}", f"{one.theirs():.4g}"
        table.add_row(one.metric, one.other, ours, theirs, f"{ratio(times[1], times[0]):.1f}", *scores)
    return table


def beside_forwards(explained: Explained, rounds: int) -> Table:
    """The metric's time to that of the model alone on as many rows, in chunks of the same size."""
    count, inputs = len(explained.inputs), explained.inputs

    def bare(rows: int) -> Work:
        chunk = rows_per_chunk(explained.model, inputs[:1])
        batch = inputs.repeat(-(-chunk // count), *[1] * (inputs.dim() - 1))[:chunk].clone()

        @torch.no_grad()
        def work() -> None:
            for start in range(0, rows, chunk):
                explained.model(batch[: min(chunk, rows - start)])

        return work

    def gradients(rows: int) -> Work:
        chunk = rows_per_chunk(lambda row: explained(row, explained.target[:1]), inputs[:1])
        repeats = -(-chunk // count)
        batch = inputs.repeat(repeats, *[1] * (inputs.dim() - 1))[:chunk].clone()
        target = explained.target.repeat(repeats)[:chunk]

        def work() -> None:
            for start in range(0, rows, chunk):
                leaf = batch[: min(chunk, rows - start)].clone().requires_grad_()
                score = explained.model(leaf).gather(1, target[: len(leaf), None]).sum()
                torch.autograd.grad(score, leaf)

        return work

    works: dict[str, tuple[Work, Work]] = {
        "deletion AUC, 32 steps": (explained.updated(DeletionAUC(), *PERTURBING), bare(33 * count)),
        "faithfulness correlation": (
            explained.updated(FaithfulnessCorrelation(draws=DRAWS), *PERTURBING),
            bare(DRAWS * count),
        ),
        "max-sensitivity": (
            explained.updated(MaxSensitivity(radius=RADIUS, draws=MOVES), *MOVING),
            gradients(MOVES * count),
        ),
    }
    title = f"{count} images of {tuple(inputs.shape[1:])}"
    table = Table("metric", "kdlab ms", "bare passes ms", "ratio", title=title)
    for name, sides in works.items():
        times = alternately(sides, rounds)
        ours, passes = (f"{1000 * statistics.median(side):.1f}" for side in times)
        table.add_row(name, ours, passes, f"{ratio(*times):.2f}")
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explanation_metrics")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=256, help="of the table; a quarter as many images")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="1: CPU time on one core")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore")  # the other libraries', which would come once a round
    console = Console(width=max(120, Console().width))
    torch.manual_seed(0)
    # Quantus takes the first axis for channels, so the features of a row stand on a second one.
    rows = Explained(MLP(30, 2, hidden=[64, 64]), (1, 30), arguments.samples)
    images = Explained(ConvNet(10, width=16, blocks=3), (1, 28, 28), max(1, arguments.samples // 4))
    console.print(beside_libraries(rows, arguments.rounds))
    console.print(beside_forwards(images, arguments.rounds))
    console.print(
        f"{machine('captum', 'quantus')}\npython -m benchmarks.explanation_metrics {shlex.join(sys.argv[1:])}"
    )


if __name__ == "__main__":
    main()
