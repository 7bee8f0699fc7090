"""What each loss adds to a training step.

    python -m benchmarks.losses [--rounds 9] [--steps 10] [--threads 1]

A step is the student's forward, cross-entropy and the loss, backward and AdamW, on a batch of 64 at 28 x 28. What the
teacher says is given, as from a cache, so that the ratio is the loss's own; the last line is the teacher's forward
that a loss on its layers adds. All arms run alternately in one process; ratios are medians over the rounds.
"""

import argparse
import shlex
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional as F

from benchmarks.measuring import Work, alternately, machine, ratio
from kdlab.explainers.grad_cam import GradCam
from kdlab.explainers.input_gradient import InputGradient
from kdlab.losses.explanations.attributed_part import SufficientPart
from kdlab.losses.explanations.explanation_match import ExplanationMatch
from kdlab.losses.explanations.jacobian_matching import JacobianMatching
from kdlab.losses.features.activation_boundary import ActivationBoundary
from kdlab.losses.features.attention_transfer import AttentionTransfer
from kdlab.losses.features.channel_wise import ChannelWise
from kdlab.losses.features.factor_transfer import FactorTransfer
from kdlab.losses.features.fit_nets import FitNets
from kdlab.losses.features.fsp import FSP
from kdlab.losses.features.nst import NST
from kdlab.losses.features.review_kd import ReviewKD
from kdlab.losses.features.vid import VID
from kdlab.losses.logits.cross_entropy import CrossEntropy
from kdlab.losses.logits.decoupled_kd import DecoupledKD
from kdlab.losses.logits.dist import DIST
from kdlab.losses.logits.label_smoothing import LabelSmoothing
from kdlab.losses.logits.logit_mse import LogitMSE
from kdlab.losses.logits.multi_level import MultiLevelLogits
from kdlab.losses.logits.soft_targets import SoftTargets
from kdlab.losses.logits.standardised import Standardised
from kdlab.losses.relations.correlation_congruence import CorrelationCongruence
from kdlab.losses.relations.crd import CRD
from kdlab.losses.relations.pkt import PKT
from kdlab.losses.relations.rkd_angle import RKDAngle
from kdlab.losses.relations.rkd_distance import RKDDistance
from kdlab.losses.relations.similarity_preserving import SimilarityPreserving
from kdlab.models.conv_net import ConvNet
from kdlab.modules.term import Sized
from kdlab.signals.capture import capture
from kdlab.signals.vocabulary import Asked, Signals

BATCH, CLASSES, TEMPERATURE = 64, 10, 4.0
BLOCKS, LAST = ["block1", "block2", "block3"], ["flatten"]


@dataclass(frozen=True)
class Arm:
    """A loss, the layers it compares, and the student's explainer where it compares explanations."""

    loss: nn.Module | None
    layers: list[str] | None = None
    explainer: Callable[[nn.Module], InputGradient | GradCam] | None = None


def arms() -> dict[str, Arm]:
    """Every family; layers as in the experiments."""

    def cam(model: nn.Module) -> GradCam:
        return GradCam(model, "block3")

    return {
        "cross-entropy alone": Arm(None),
        "LabelSmoothing": Arm(LabelSmoothing()),
        "SoftTargets": Arm(SoftTargets(TEMPERATURE)),
        "LogitMSE": Arm(LogitMSE()),
        "DecoupledKD": Arm(DecoupledKD()),
        "DIST": Arm(DIST()),
        "Standardised(SoftTargets)": Arm(Standardised(SoftTargets(2.0))),
        "MultiLevelLogits": Arm(MultiLevelLogits()),
        "FitNets": Arm(FitNets(), ["block2"]),
        "AttentionTransfer": Arm(AttentionTransfer(), BLOCKS),
        "FSP": Arm(FSP(), ["block2:input", "block2"]),
        "NST": Arm(NST(), ["block3"]),
        "FactorTransfer": Arm(FactorTransfer(), ["block3"]),
        "ActivationBoundary": Arm(ActivationBoundary(), ["block3"]),
        "VID": Arm(VID(), BLOCKS),
        "ReviewKD": Arm(ReviewKD(), BLOCKS),
        "ChannelWise": Arm(ChannelWise(), ["block3"]),
        "RKDDistance": Arm(RKDDistance(), LAST),
        "RKDAngle": Arm(RKDAngle(), LAST),
        "SimilarityPreserving": Arm(SimilarityPreserving(), ["block3"]),
        "PKT": Arm(PKT(), LAST),
        "CorrelationCongruence": Arm(CorrelationCongruence(), LAST),
        "CRD, 1,024 negatives": Arm(CRD(samples=BATCH, negatives=1024), LAST),
        "ExplanationMatch, input gradient": Arm(ExplanationMatch(), explainer=InputGradient),
        "ExplanationMatch, Grad-CAM": Arm(ExplanationMatch(), explainer=cam),
        "JacobianMatching": Arm(JacobianMatching(), explainer=InputGradient),
        "SufficientPart": Arm(SufficientPart(), explainer=InputGradient),
    }


class Setting:
    """A batch, and all that a teacher says about it."""

    def __init__(self, batch: int = BATCH) -> None:
        torch.manual_seed(0)
        self.inputs = torch.randn(batch, 1, 28, 28)
        self.target = torch.randint(CLASSES, (batch,))
        self.teacher = ConvNet(CLASSES, width=32, blocks=3).eval().requires_grad_(False)
        with torch.no_grad():
            self.teacher_logits = self.teacher(self.inputs)

    def student(self) -> nn.Module:
        """The same weights for every arm."""
        torch.manual_seed(1)
        return ConvNet(CLASSES, width=16, blocks=3)

    def given(self, arm: Arm) -> dict[str, Any]:
        """The signals that do not change from step to step."""
        known: dict[str, Any] = {
            "inputs": self.inputs,
            "target": self.target,
            "index": torch.arange(len(self.inputs)),
            "baseline": torch.zeros(1, 28, 28),
            "teacher_logits": self.teacher_logits,
            "explained": self.teacher_logits.argmax(dim=1),
        }
        with torch.no_grad():
            if arm.layers is not None:
                with capture(self.teacher, arm.layers) as captured:
                    self.teacher(self.inputs)
                    known["teacher_features"] = captured.ordered(arm.layers)
            if arm.explainer is not None:
                known["teacher_attributions"] = arm.explainer(self.teacher).attribute(self.inputs, known["explained"])
        return known

    def step(self, arm: Arm) -> Work:
        """A training step with kdlab's parts."""
        model, known, layers, explainer = self.student(), self.given(arm), arm.layers or [], arm.explainer
        task, loss = CrossEntropy(), arm.loss

        def signals() -> Signals:
            with capture(model, layers) as captured:
                logits = model(self.inputs)
                known["features"] = captured.ordered(layers)
            now_known = {**known, "model": model, "logits": logits}
            if explainer is None:
                return Signals(now_known)
            method = explainer(model)
            return Signals(now_known, {"attributions": lambda s: method.attribute(s["inputs"], s["explained"])})

        if isinstance(loss, Sized):
            with torch.no_grad():
                Asked(loss.prepare)(signals())
        ask = Asked(loss.forward) if loss is not None else None
        parts = nn.ModuleList([model] if loss is None else [model, loss])
        optimizer = torch.optim.AdamW(parts.parameters())

        def work() -> None:
            offered = signals()
            value = task(offered["logits"], self.target)
            if ask is not None:
                value = value + ask(offered)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()

        return work

    def by_hand(self) -> Work:
        """Soft targets as a person would write them."""
        model = self.student()
        optimizer = torch.optim.AdamW(model.parameters())

        def work() -> None:
            logits = model(self.inputs)
            student = F.log_softmax(logits / TEMPERATURE, dim=1)
            teacher = F.log_softmax(self.teacher_logits / TEMPERATURE, dim=1)
            soft = F.kl_div(student, teacher, log_target=True, reduction="batchmean")
            value = F.cross_entropy(logits, self.target) + TEMPERATURE**2 * soft
            optimizer.zero_grad()
            value.backward()
            optimizer.step()

        return work

    def teaching(self) -> Work:
        """The teacher's forward."""

        @torch.no_grad()
        def work() -> None:
            self.teacher(self.inputs)

        return work


def steps_table(rounds: int, steps: int) -> Table:
    setting, named = Setting(), arms()
    works = {name: setting.step(arm) for name, arm in named.items()}
    works["soft targets by hand"] = setting.by_hand()
    works["the teacher's forward, no training"] = setting.teaching()
    times = dict(zip(works, alternately(list(works.values()), rounds, steps), strict=True))
    table = Table(
        "beside cross-entropy", "ms a step", "to cross-entropy alone", "to soft targets by hand", title=machine()
    )
    alone, by_hand = times["cross-entropy alone"], times["soft targets by hand"]
    for name, own in times.items():
        table.add_row(
            name, f"{1000 * statistics.median(own):.2f}", f"{ratio(own, alone):.2f}", f"{ratio(own, by_hand):.2f}"
        )
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.losses")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=10, help="steps in a round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="1: CPU time on one core")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    console = Console(width=max(120, Console().width))
    console.print(steps_table(arguments.rounds, arguments.steps))
    console.print(f"{arguments.rounds} rounds, alternating: python -m benchmarks.losses {shlex.join(sys.argv[1:])}")


if __name__ == "__main__":
    main()
