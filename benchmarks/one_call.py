"""Prediction and explanation in one call: what it costs beside the prediction, and how far from the truth it is.

    python -m benchmarks.one_call [--rounds 31] [--threads 1]
    python -m benchmarks.one_call --judge mlruns

The first times the joint students of two shipped data sets with networks for Shapley values; times do not depend on
weights, so none are trained. The second judges what `make experiment NAME=mnist5k` left in a folder: errors of its
joint stage's explainer to kdlab's KernelShap with 16,384 coalitions, a player, of the explained class's logit.
"""

import argparse
import shlex
import statistics
import sys
import warnings
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.measuring import alternately, machine, ratio
from benchmarks.shapley import Sampled
from kdlab.configuration.experiment import Experiment, read
from kdlab.data.base import DataModule
from kdlab.explainers.amortised_shapley import AmortisedShapley
from kdlab.explainers.base import Attribution
from kdlab.explainers.explained import Explained
from kdlab.explainers.players import Groups, Players
from kdlab.models.mlp import MLP
from kdlab.modules.joint import Joint
from kdlab.stages.context import Context
from kdlab.stages.options import Options
from kdlab.stages.seeded_stage import trained_module

EXPERIMENT = Path(__file__).parents[1] / "experiments" / "mnist5k.yaml"
BATCHES = (1, 64, 256)


def images(experiment: Experiment) -> tuple[nn.Module, Attribution, Tensor]:
    """The student and explainer of the joint stage of mnist5k, untrained, and images to be explained."""
    module = experiment.build_module("joint", experiment.build_model("joint"), None)
    if not isinstance(module, Joint) or not isinstance(module.explainer, Attribution):
        raise TypeError(f"the stage joint of {experiment.path} has no explainer with attributions")
    return module.model, module.explainer, torch.randn(max(BATCHES), 1, 28, 28)


def table() -> tuple[nn.Module, Attribution, Tensor]:
    """The student of breast_cancer, and a small network for its Shapley values."""
    model = MLP(30, 2, hidden=[4])
    return model, AmortisedShapley(model, [30], 2, hidden=[32]), torch.randn(max(BATCHES), 30)


@torch.inference_mode()
def times(name: str, model: nn.Module, explainer: Attribution, inputs: Tensor, rounds: int) -> Table:
    """A row a batch size; the ratio is (both - prediction) / prediction, median over rounds."""
    both = Explained(model, explainer)
    shown = Table("batch", "prediction, µs a sample", "both in one call", "attribute alone", "ratio", title=name)
    for size in BATCHES:
        batch = inputs[:size]
        classes = model(batch).argmax(dim=1)
        sides = [partial(model, batch), partial(both, batch), partial(explainer.attribute, batch, classes)]
        # Short calls are repeated, or the clock's own steps would show.
        found = alternately(sides, rounds, repeat=max(1, 64 // size))
        each = [f"{1e6 * statistics.median(one) / size:.1f}" for one in found]
        shown.add_row(str(size), *each, f"{ratio(found[1], found[0]) - 1:.2f}")
    return shown


@torch.no_grad()
def judged(experiment: Experiment, mlruns: Path, samples: int, draws: int) -> Table:
    """Errors of the explainer that the joint stage trained, beside sampled values of the same student."""
    context = Context(experiment, Options(mlruns=mlruns.resolve()))
    planned = context.graph.node("joint", experiment.seeds_of("joint")[0])
    if not planned.trained:
        raise FileNotFoundError(f"no finished joint stage in {mlruns}; make experiment NAME=mnist5k, with this code")
    module = trained_module(context.seeded_stage(planned))
    if not isinstance(module, Joint) or not isinstance(module.explainer, AmortisedShapley):
        raise TypeError("the joint stage has no AmortisedShapley")
    data = context.data
    if not isinstance(data, DataModule):
        raise TypeError("the benchmark needs a data module of kdlab")
    players: Players = Groups(module.explainer.assignment.flatten().tolist())
    game = Sampled("mnist5k, joint", data, module.model, players)
    inputs = data.splits["test"]["inputs"][:samples]
    target = module.model(inputs).argmax(dim=1)
    truth, again = (game.of_players(game.kernel(draws, seed).attribute(inputs, target)) for seed in (0, 1))
    found = {
        "amortised": game.of_players(module.explainer.attribute(inputs, target)),
        "kdlab KernelShap-128": game.of_players(game.kernel(128).attribute(inputs, target)),
        "kdlab KernelShap-512": game.of_players(game.kernel(512).attribute(inputs, target)),
        "captum KernelShap-128": game.captum(128)(inputs, target),
        "nothing: zero everywhere": torch.zeros_like(truth),
    }
    title = (
        f"{game.name}, {samples} test samples: mean |value| {truth.abs().mean():.3f}, truth to truth of another seed "
        f"{(truth - again).abs().mean():.4f}"
    )
    shown = Table("method", "mean absolute error", title=title)
    for name, values in found.items():
        shown.add_row(name, f"{(values - truth).abs().mean():.4f}")
    return shown


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.one_call")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--judge", type=Path, metavar="MLRUNS", help="judge the explanations of a finished mnist5k")
    parser.add_argument("--samples", type=int, default=50, help="judged")
    parser.add_argument("--truth", type=int, default=16384, help="coalitions that the truth is made from")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="1: CPU time on one core")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore", module="captum")
    torch.manual_seed(0)
    console, experiment = Console(width=max(120, Console().width)), read(EXPERIMENT)
    if arguments.judge is not None:
        console.print(judged(experiment, arguments.judge, arguments.samples, arguments.truth))
    else:
        console.print(times("mnist5k: conv net, 49 squares", *images(experiment), arguments.rounds))
        console.print(times("breast_cancer: MLP of 4 units, 30 features", *table(), arguments.rounds))
    console.print(f"{machine('captum')}\npython -m benchmarks.one_call {shlex.join(sys.argv[1:])}")


if __name__ == "__main__":
    main()
