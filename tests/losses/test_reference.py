"""Values and gradients by published implementations, on fixed inputs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kdlab.losses.explanations.class_activation_transfer import ClassActivationTransfer
from kdlab.losses.explanations.explanation_match import ExplanationMatch
from kdlab.losses.features.activation_boundary import ActivationBoundary
from kdlab.losses.features.attention_transfer import AttentionTransfer
from kdlab.losses.features.channel_wise import ChannelWise
from kdlab.losses.features.factor_transfer import FactorMatch
from kdlab.losses.features.fit_nets import FitNets
from kdlab.losses.features.fsp import FSP
from kdlab.losses.features.nst import NST
from kdlab.losses.features.pearson_features import PearsonFeatures
from kdlab.losses.features.review_kd import HierarchicalContext
from kdlab.losses.features.vid import VID, gaussian_cost
from kdlab.losses.logits.cross_entropy import CrossEntropy
from kdlab.losses.logits.decoupled_kd import DecoupledKD
from kdlab.losses.logits.dist import DIST
from kdlab.losses.logits.logit_mse import LogitMSE
from kdlab.losses.logits.multi_level import BatchCorrelation, ClassCorrelation
from kdlab.losses.logits.one_for_all import OneForAll
from kdlab.losses.logits.soft_targets import SoftTargets
from kdlab.losses.logits.standardised import Standardised
from kdlab.losses.logits.weighted_soft_targets import WeightedSoftTargets
from kdlab.losses.relations.correlation_congruence import Bilinear, CorrelationCongruence
from kdlab.losses.relations.crd import CRD
from kdlab.losses.relations.pkt import PKT
from kdlab.losses.relations.rkd_angle import RKDAngle
from kdlab.losses.relations.rkd_distance import RKDDistance
from kdlab.losses.relations.similarity_preserving import SimilarityPreserving

Case = dict[str, Any]
Inputs = dict[str, Tensor]
REFERENCE = Path(__file__).parents[1] / "reference"
CASES: list[Case] = json.loads((REFERENCE / "kd_losses.json").read_text())["cases"]
ARRAYS = dict(np.load(REFERENCE / "kd_losses.npz"))
NOT_LOSSES = {"metric.agree", "metric.tskl", "metric.ece10"}  # metrics, proved in tests/metrics


def soft_targets(case: Case, x: Inputs) -> Tensor:
    return SoftTargets(case["args"]["T"])(x["s"], x["t"])


def with_cross_entropy(case: Case, x: Inputs) -> Tensor:
    alpha = case["args"]["alpha"]
    return alpha * CrossEntropy()(x["s"], x["y"]) + (1 - alpha) * soft_targets(case, x)


def decoupled(case: Case) -> DecoupledKD:
    return DecoupledKD(case["args"]["alpha"], case["args"]["beta"], case["args"]["T"])


def mean_logits(case: Case, x: Inputs) -> Tensor:
    # The peer's cross-entropy is the divergence and the teachers' entropy, without T^2
    temperature, teacher = case["args"]["T"], x["ts"].mean(0)
    soft = (teacher / temperature).softmax(1)
    return SoftTargets(temperature)(x["s"], teacher) / temperature**2 - (soft * soft.log()).sum(1).mean()


def mean_probabilities(case: Case, x: Inputs) -> Tensor:
    temperature = case["args"]["T"]
    return SoftTargets(temperature)(x["s"], x["ts"].softmax(2).mean(0).log()) / temperature**2


def hint_with_projector(_: Case, x: Inputs) -> Tensor:
    loss = FitNets()
    loss.prepare([x["s"]], [x["t"]])
    return torch.func.functional_call(loss, {"projectors.0.weight": x["w"].flatten(1)}, ([x["s"]], [x["t"]]))


def vid_with_regressor(case: Case, x: Inputs) -> Tensor:
    loss = VID(case["args"]["init_pred_var"], case["args"]["eps"])
    loss.prepare([x["s"]], [x["t"]])
    weights = {f"regressors.0.{i}.weight": x[w].flatten(1) for i, w in ((0, "w1"), (2, "w2"), (4, "w3"))}
    return torch.func.functional_call(loss, weights, ([x["s"]], [x["t"]]))


def both_angles_and_distances(case: Case, x: Inputs) -> Tensor:
    return case["args"]["w_d"] * RKDDistance()(x["s"], x["t"]) + case["args"]["w_a"] * RKDAngle()(x["s"], x["t"])


def crd(case: Case, x: Inputs) -> Tensor:
    args = case["args"]
    loss = CRD(args["n_data"], args["K"], x["s"].shape[1], args["nce_t"], args["nce_m"])
    loss.memory, loss.teacher_memory = x["m1"], x["m2"]
    return loss.contrast(x["s"], x["t"], x["idx"])


def e2kd(case: Case, x: Inputs) -> Tensor:
    args = case["args"]
    value = args["ce_weight"] * CrossEntropy()(x["s"], x["y"]) + args["kd_weight"] * soft_targets(case, x)
    return value + args["lambda_exp"] * ExplanationMatch()(x["cs"], x["ct"])


def two_layers(loss: torch.nn.Module) -> Callable[[Case, Inputs], Tensor]:
    return lambda _, x: loss([x["s"], x["s2"]], [x["t"], x["t2"]])


def one_layer(loss: torch.nn.Module) -> Callable[[Case, Inputs], Tensor]:
    return lambda _, x: loss([x["s"]], [x["t"]])


LOSSES: dict[str, Callable[[Case, Inputs], Tensor]] = {
    "KD": soft_targets,
    "KD+CE": with_cross_entropy,
    "logit-MSE": lambda case, x: LogitMSE(case["args"]["T"])(x["s"], x["t"]),
    "KD-logit-standardised": lambda case, x: Standardised(SoftTargets(case["args"]["T"]))(x["s"], x["t"]),
    "DIST": lambda c, x: DIST(c["args"]["beta"], c["args"]["gamma"], c["args"]["T"])(x["s"], x["t"]),
    "DKD": lambda case, x: decoupled(case)(x["s"], x["t"], x["y"]),
    "DKD-logit-standardised": lambda case, x: Standardised(decoupled(case))(x["s"], x["t"], x["y"]),
    "MLKD class correlation": lambda case, x: ClassCorrelation(case["args"]["T"])(x["s"], x["t"]),
    "MLKD batch correlation": lambda case, x: BatchCorrelation(case["args"]["T"])(x["s"], x["t"]),
    "WSLD": lambda case, x: WeightedSoftTargets(case["args"]["T"])(x["s"], x["t"], x["y"]),
    "OFA": lambda case, x: OneForAll(case["args"]["eps"], case["args"]["T"])(x["s"], x["t"], x["y"]),
    "label smoothing CE": lambda case, x: CrossEntropy(case["args"]["eps"])(x["s"], x["y"]),
    "mt.tb_meanlogit": mean_logits,
    "mt.gnosis_probs": mean_probabilities,
    "AT": lambda case, x: AttentionTransfer(case["args"]["p"])([x["s"]], [x["t"]]),
    "FitNets hint": one_layer(FitNets()),
    "FitNets hint + 1x1 conv": hint_with_projector,
    "ReviewKD HCL": two_layers(HierarchicalContext()),
    "FT": lambda case, x: FactorMatch(case["args"]["p"])([x["s"]], [x["t"]]),
    "AB": lambda case, x: ActivationBoundary(case["args"]["margin"])([x["s"]], [x["t"]]),
    "NST": one_layer(NST()),
    "FSP": two_layers(FSP()),
    "vid.td": lambda _, x: gaussian_cost(x["s"], x["v"], x["t"]),
    "vid.rep": vid_with_regressor,
    "CWD": lambda case, x: ChannelWise(case["args"]["T"])([x["s"]], [x["t"]]),
    "PKD": one_layer(PearsonFeatures()),
    "SP": one_layer(SimilarityPreserving()),
    "RKD-D": one_layer(RKDDistance()),
    "RKD-A": one_layer(RKDAngle(chunk=3)),
    "RKD": both_angles_and_distances,
    "PKT": lambda case, x: PKT(case["args"]["eps"])([x["s"]], [x["t"]]),
    "CC": one_layer(CorrelationCongruence(Bilinear())),
    "CRD": crd,
    "e2KD explanation": lambda _, x: ExplanationMatch()(x["s"], x["t"]),
    "CAT-KD": lambda case, x: ClassActivationTransfer(case["args"]["resolution"], case["args"]["normalize"])(
        [x["s"]], [x["t"]]
    ),
    "e2KD total": e2kd,
}


def loss_of(case: Case) -> Callable[[Case, Inputs], Tensor]:
    """By the loss's name, or, where two share it, by the beginning of the case's id."""
    return LOSSES.get(case["loss"]) or LOSSES[".".join(case["id"].split("@")[0].split(".")[:2])]


def inputs_of(case: Case, dtype: torch.dtype) -> Inputs:
    tensors = {name: torch.from_numpy(ARRAYS[key]) for name, key in case["inputs"].items()}
    return {name: x.to(dtype) if x.is_floating_point() else x for name, x in tensors.items()}


def covered() -> list[Case]:
    return [case for case in CASES if case["id"].split("@")[0] not in NOT_LOSSES]


@pytest.mark.parametrize("case", covered(), ids=lambda case: case["id"])
def test_agrees_with_a_published_implementation(case: Case) -> None:
    inputs = inputs_of(case, torch.float64)
    wanted = [inputs[name].requires_grad_() for name in case.get("grads", {})]
    value = loss_of(case)(case, inputs)
    assert value.item() == pytest.approx(case["value_f64"], rel=1e-9, abs=1e-12)
    gradients = torch.autograd.grad(value, wanted) if wanted else ()
    for key, gradient in zip(case.get("grads", {}).values(), gradients, strict=True):
        torch.testing.assert_close(gradient, torch.from_numpy(ARRAYS[key]).to(gradient), rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("case", covered(), ids=lambda case: case["id"])
def test_agrees_in_single_precision(case: Case) -> None:
    value = loss_of(case)(case, inputs_of(case, torch.float32))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(case["value_f32"], rel=2e-5, abs=1e-6)
