"""Shapley values in one forward, against sampling: how far from the truth, and how long each takes.

    python -m benchmarks.shapley [--only table] [--rounds 5] [--threads 1]

The truth is kdlab's KernelShap with 16,384 paired coalitions (its own error: the difference of two seeds is shown).
The network is trained on training samples alone and scored on test samples. Errors are mean absolute differences a
player, of the explained class's logit. captum is given its fastest setting, all perturbations in one forward, and its
default, one perturbation a forward.
"""

import argparse
import shlex
import statistics
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from captum.attr import KernelShap as CaptumKernelShap
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measuring import alternately, machine, now
from kdlab.data.base import DataModule
from kdlab.data.breast_cancer import BreastCancer
from kdlab.data.mnist5k import MNIST5k
from kdlab.explainers.amortised_shapley import AmortisedShapley
from kdlab.explainers.kernel_shap import KernelShap
from kdlab.explainers.players import Features, Players, Superpixels
from kdlab.models.conv_net import ConvNet
from kdlab.models.mlp import MLP

BATCH = 256


class ConvolvedSquares(nn.Module):
    """What each square of 4 x 4 pixels is worth to each class: (batch, 1, 28, 28) to (batch, 49 * classes)."""

    def __init__(self, classes: int, width: int = 16) -> None:
        super().__init__()
        self.near = nn.Sequential(
            nn.Conv2d(1, width // 2, 4, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(width // 2, width, 4, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
        )
        # A square's worth depends on the whole digit.
        self.whole = nn.Sequential(nn.Flatten(), nn.Linear(49 * width, 4 * width), nn.GELU())
        self.head = nn.Sequential(nn.Conv2d(5 * width, 4 * width, 1), nn.GELU(), nn.Conv2d(4 * width, classes, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the values, the classes of a square beside each other."""
        maps = self.near(inputs)
        whole = self.whole(maps)[:, :, None, None].expand(-1, -1, *maps.shape[2:])
        worth: Tensor = self.head(torch.cat([maps, whole], dim=1))
        return worth.flatten(2).transpose(1, 2).flatten(1)


@dataclass
class Sampled:
    """A model on real data, who plays, and the values that are found by sampling."""

    name: str
    data: DataModule
    model: nn.Module
    players: Players

    def __post_init__(self) -> None:
        self.data.setup()
        self.shape = self.data.shape
        self.assignment = self.players.assignment(self.shape)
        self.count = int(self.assignment.max()) + 1

    def of_players(self, attributions: Tensor) -> Tensor:
        """Sum of the values that each player's members were given: (batch, players)."""
        empty = attributions.new_zeros(len(attributions), self.count)
        return empty.index_add(1, self.assignment.flatten(), attributions.flatten(1))

    def kernel(self, draws: int, seed: int = 0) -> KernelShap:
        """The sampler of kdlab."""
        return KernelShap(self.model, draws, self.data.baseline, self.players, seed)

    def captum(self, draws: int, at_once: int | None = None) -> Callable[[Tensor, Tensor], Tensor]:
        """Player values by captum, which explains one sample at a time."""
        method = CaptumKernelShap(self.model)
        members = torch.bincount(self.assignment.flatten())

        def explain(inputs: Tensor, target: Tensor) -> Tensor:
            torch.manual_seed(0)
            parts = [
                method.attribute(
                    inputs[row : row + 1],
                    baselines=self.data.baseline[None],
                    target=int(target[row]),
                    feature_mask=self.assignment[None],
                    n_samples=draws,
                    perturbations_per_eval=at_once or draws,
                )
                for row in range(len(inputs))
            ]
            # captum repeats a player's value on each of its members.
            return self.of_players(torch.cat(parts)) / members

        return explain


@dataclass
class Game(Sampled):
    """How the model and its explainer are trained, too."""

    model_epochs: int
    network: nn.Module | None
    steps: int
    batch: int
    coalitions: int
    noise: float
    scored: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self.train, self.test = self.data.splits["train"], self.data.splits["test"]

    def train_model(self) -> float:
        """Train the model that is explained; return its accuracy."""
        torch.manual_seed(0)
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        for _ in range(self.model_epochs):
            for rows in torch.randperm(len(self.train["target"])).split(64):
                optimizer.zero_grad()
                F.cross_entropy(self.model(self.train["inputs"][rows]), self.train["target"][rows]).backward()
                optimizer.step()
        self.model.eval().requires_grad_(False)
        hits = self.model(self.test["inputs"]).argmax(dim=1) == self.test["target"]
        return float(hits.float().mean())

    def train_explainer(self) -> tuple[AmortisedShapley, float]:
        """Train the network; return it and the seconds that it took."""
        torch.manual_seed(0)
        baseline = self.data.baseline.flatten().tolist()
        explainer = AmortisedShapley(
            self.model,
            self.shape,
            self.data.classes,
            players=self.players,
            network=self.network,
            coalitions=self.coalitions,
            baseline=baseline,
        )
        optimizer = torch.optim.AdamW(explainer.parameters(), lr=2e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=self.steps)
        started = now()
        for _ in range(self.steps):
            inputs = self.train["inputs"][torch.randint(len(self.train["inputs"]), (self.batch,))]
            optimizer.zero_grad()
            explainer.terms(inputs + self.noise * torch.randn_like(inputs))["shapley"].backward()
            optimizer.step()
            schedule.step()
        return explainer.eval(), now() - started


def games() -> dict[str, Game]:
    """A real table and real images."""
    return {
        "table": Game(
            name="breast cancer, MLP of 16 units, 30 features",
            data=BreastCancer(),
            model=MLP(30, 2, hidden=[16]),
            model_epochs=100,
            players=Features(),
            network=None,
            steps=4000,
            batch=64,
            coalitions=32,
            noise=0.3,  # 341 patients are few; their neighbours are asked too
            scored=114,
        ),
        "images": Game(
            name="MNIST-5k, conv net, 49 squares of 4 x 4 pixels",
            data=MNIST5k(),
            model=ConvNet(10, width=8, blocks=3),
            model_epochs=8,
            players=Superpixels(4),
            network=ConvolvedSquares(10),
            steps=1500,
            batch=32,
            coalitions=16,
            noise=0.0,
            scored=50,
        ),
    }


@torch.no_grad()
def compare(game: Game, rounds: int, timed: int, draws_of_truth: int) -> Table:
    """Errors to the truth, and time an explanation in batches of 256 where the method takes batches."""
    with torch.enable_grad():
        accuracy = game.train_model()
        explainer, seconds = game.train_explainer()
    inputs = game.test["inputs"][: game.scored]
    target = game.model(inputs).argmax(dim=1)
    truth = game.of_players(game.kernel(draws_of_truth).attribute(inputs, target))
    again = game.of_players(game.kernel(draws_of_truth, seed=1).attribute(inputs, target))
    many = game.test["inputs"].repeat(-(-BATCH // len(game.test["inputs"])), *[1] * len(game.shape))[:BATCH]
    classes = game.model(many).argmax(dim=1)
    methods: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], int]] = {"amortised": (explainer.attribute, BATCH)}
    for draws in (128, 512):
        methods[f"kdlab KernelShap-{draws}"] = game.kernel(draws).attribute, BATCH
        methods[f"captum KernelShap-{draws}"] = game.captum(draws), timed
    methods["captum KernelShap-128, its default"] = game.captum(128, at_once=1), timed
    times = alternately([partial(method, many[:count], classes[:count]) for method, count in methods.values()], rounds)
    each = [statistics.median(time) / count for time, (_, count) in zip(times, methods.values(), strict=True)]
    title = (
        f"{game.name}: model's accuracy {accuracy:.3f}, {len(inputs)} test samples, mean |value| "
        f"{truth.abs().mean():.3f}, truth to truth of another seed {(truth - again).abs().mean():.4f}"
    )
    table = Table("method", "mean absolute error", "time an explanation, µs", "times the amortised", title=title)
    for (name, (method, _)), time in zip(methods.items(), each, strict=True):
        found = method(inputs, target)
        value = found if name.startswith("captum") else game.of_players(found)
        error = float((value - truth).abs().mean())
        table.add_row(name, f"{error:.4f}", f"{1e6 * time:.1f}", f"{time / each[0]:.0f}")
    table.caption = (
        f"training of the network: {game.steps} steps, {seconds:.0f} s: as long as "
        f"{seconds / each[4]:.0f} explanations by captum KernelShap-512"
    )
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shapley")
    parser.add_argument("--only", choices=("table", "images"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="of the network's training, instead of the game's own")
    parser.add_argument("--samples", type=int, help="scored, instead of the game's own")
    parser.add_argument("--truth", type=int, default=16384, help="coalitions that the truth is made from")
    parser.add_argument("--timed", type=int, default=10, help="samples that captum explains in a round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="1: CPU time on one core")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore", module="captum")
    console = Console(width=max(120, Console().width))
    for name, game in games().items():
        if arguments.only in (None, name):
            game.steps, game.scored = arguments.steps or game.steps, arguments.samples or game.scored
            console.print(compare(game, arguments.rounds, arguments.timed, arguments.truth))
    console.print(f"{machine('captum')}\npython -m benchmarks.shapley {shlex.join(sys.argv[1:])}")


if __name__ == "__main__":
    main()
