"""How well trees repeat a student: the soft tree, the hard tree read from it, the rule tree.

    python -m benchmarks.trees [--seeds 3] [--threads 1]

A student is trained on real data and frozen; each tree learns it on the training split, by the same objective as in a
joint stage, and is scored on the test split. Agreement is the share of samples with the same predicted class.
"""

import argparse
import shlex
import statistics
import sys
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measuring import machine, now
from kdlab.data.base import DataModule
from kdlab.data.breast_cancer import BreastCancer
from kdlab.data.digits import Digits
from kdlab.explainers.rule_tree import RuleTree
from kdlab.explainers.soft_decision_tree import SoftDecisionTree
from kdlab.models.mlp import MLP


@dataclass
class Case:
    """A data set, the student's hidden units, and the soft tree's depth."""

    data: DataModule
    hidden: int
    depth: int
    epochs: int = 100

    def __post_init__(self) -> None:
        self.data.setup()
        self.train, self.test = self.data.splits["train"], self.data.splits["test"]
        self.inputs = self.train["inputs"][0].numel()

    def student(self) -> nn.Module:
        """A trained, frozen network."""
        model = MLP(self.inputs, self.data.classes, hidden=[self.hidden])
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(30):
            for inputs, target in self.batches():
                optimizer.zero_grad()
                F.cross_entropy(model(inputs), target).backward()
                optimizer.step()
        return model.eval().requires_grad_(False)

    def batches(self) -> list[tuple[Tensor, Tensor]]:
        """An epoch in a new order."""
        order = torch.randperm(len(self.train["target"]))
        return [(self.train["inputs"][rows], self.train["target"][rows]) for rows in order.split(64)]

    def soft_tree(self, model: nn.Module) -> SoftDecisionTree:
        """A soft tree of the student: divergence and squared difference of logits beside its own terms."""
        # A light path loss lets leaves share a sample, as in experiments/digits.yaml.
        tree = SoftDecisionTree(model, self.inputs, self.data.classes, depth=self.depth, path_loss=0.1)
        optimizer = torch.optim.AdamW(tree.parameters(), lr=2e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs)
        for _ in range(self.epochs):
            for inputs, _ in self.batches():
                logits, own = model(inputs), tree(inputs)
                fidelity = F.kl_div(own, logits.log_softmax(dim=1), log_target=True, reduction="batchmean")
                squared = (own.exp() - logits.softmax(dim=1)).square().sum(dim=1).mean()
                optimizer.zero_grad()
                (fidelity + squared + sum(tree.terms(inputs, logits).values())).backward()
                optimizer.step()
            schedule.step()
        return tree.eval()

    def rule_tree(self, model: nn.Module, depth: int) -> RuleTree:
        """A rule tree of the student."""
        tree = RuleTree(model, self.inputs, self.data.classes, max_depth=depth)
        tree.refit([{"inputs": inputs} for inputs, _ in self.batches()])
        return tree.eval()


@torch.no_grad()
def measure(case: Case, seed: int) -> dict[str, float]:
    """Agreements on the test split."""
    torch.manual_seed(seed)
    inputs, target = case.test["inputs"], case.test["target"]
    with torch.enable_grad():
        model = case.student()
        started = now()
        soft = case.soft_tree(model)
        seconds = now() - started
    said, hard, rules = model(inputs).argmax(dim=1), soft.harden(), case.rule_tree(model, 6)

    def share(first: Tensor, second: Tensor) -> float:
        return float((first == second).float().mean())

    flat = inputs.flatten(1)
    return {
        "student's accuracy": share(said, target),
        "soft tree's agreement": share(soft(inputs).argmax(dim=1), said),
        "hardened tree's agreement": share(hard.predict(flat), said),
        "hardened tree's with the soft tree's own turns": share(hard.predict(flat), soft.decide(inputs)),
        "rule tree's agreement (depth 6)": share(rules(inputs).argmax(dim=1), said),
        "seconds of the soft tree's training": seconds,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trees")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=100, help="of the soft tree")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="1: CPU time on one core")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cases = {
        "digits": Case(Digits(), hidden=16, depth=5, epochs=arguments.epochs),
        "breast cancer": Case(BreastCancer(), hidden=16, depth=3, epochs=arguments.epochs),
    }
    table = Table("on the test split", *cases, title=f"means of {arguments.seeds} seeds (lowest)")
    found = {name: [measure(case, seed) for seed in range(arguments.seeds)] for name, case in cases.items()}
    for row in next(iter(found.values()))[0]:
        values = [[measured[row] for measured in of_case] for of_case in found.values()]
        table.add_row(row, *(f"{statistics.mean(of_case):.3f} ({min(of_case):.3f})" for of_case in values))
    console = Console(width=max(120, Console().width))
    console.print(table)
    console.print(f"{machine()}\npython -m benchmarks.trees {shlex.join(sys.argv[1:])}")


if __name__ == "__main__":
    main()
