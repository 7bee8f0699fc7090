"""The properties of the family, for every loss of the package."""

import copy
import importlib
import inspect
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kdlab.losses.explanations.attributed_part import SufficientPart
from kdlab.losses.explanations.class_activation_transfer import ClassActivationTransfer
from kdlab.losses.explanations.explanation_match import ExplanationMatch
from kdlab.losses.explanations.jacobian_matching import JacobianMatching
from kdlab.losses.explanations.right_reasons import RightReasons
from kdlab.losses.features.adversarial_features import AdversarialFeatures
from kdlab.losses.features.attention_transfer import AttentionTransfer
from kdlab.losses.features.channel_wise import ChannelWise
from kdlab.losses.features.factor_transfer import FactorMatch, FactorTransfer
from kdlab.losses.features.fit_nets import FitNets
from kdlab.losses.features.fsp import FSP
from kdlab.losses.features.nst import NST
from kdlab.losses.features.pearson_features import PearsonFeatures
from kdlab.losses.features.review_kd import HierarchicalContext, ReviewKD
from kdlab.losses.features.transformer import AttentionMaps, HiddenStates
from kdlab.losses.features.vid import VID
from kdlab.losses.logits.cross_entropy import CrossEntropy
from kdlab.losses.logits.decoupled_kd import DecoupledKD
from kdlab.losses.logits.dist import DIST
from kdlab.losses.logits.logit_mse import LogitMSE
from kdlab.losses.logits.multi_level import BatchCorrelation, ClassCorrelation, MultiLevelLogits
from kdlab.losses.logits.one_for_all import OneForAll, OneForAllExits
from kdlab.losses.logits.soft_targets import SoftTargets
from kdlab.losses.logits.standardised import Standardised
from kdlab.losses.relations.correlation_congruence import Bilinear, CorrelationCongruence, TaylorGaussian
from kdlab.losses.relations.crd import CRD
from kdlab.losses.relations.pkt import PKT
from kdlab.losses.relations.rkd_angle import RKDAngle
from kdlab.losses.relations.rkd_distance import RKDDistance
from kdlab.losses.relations.similarity_preserving import SimilarityPreserving
from kdlab.testing.loss_signals import TRAINED, evaluate, example
from kdlab.testing.losses import (
    check_finite,
    check_gradient_reaches,
    check_leaves_signals,
    check_pulls_towards_teacher,
    check_refuses,
    check_scalar,
    check_zero_at_equality,
)
from tests.families import buildable

ZERO_AT_EQUALITY = [
    SoftTargets(1.0),
    SoftTargets(8.0),
    LogitMSE(),
    DecoupledKD(),
    DIST(),
    Standardised(SoftTargets(2.0)),
    ClassCorrelation(),
    BatchCorrelation(),
    MultiLevelLogits(),
    FitNets(),
    AttentionTransfer(),
    AttentionTransfer(p=1.0),
    FSP(),
    NST(),
    FactorMatch(),
    HierarchicalContext(),
    ChannelWise(),
    PearsonFeatures(),
    AttentionMaps(),
    HiddenStates(),
    RKDDistance(),
    RKDAngle(),
    SimilarityPreserving(),
    PKT(),
    CorrelationCongruence(),
    CorrelationCongruence(Bilinear()),
    ExplanationMatch(),
    JacobianMatching(),
    JacobianMatching(normalise=False),
    ClassActivationTransfer(),
    ClassActivationTransfer(normalise=True),
]
# Built with other arguments than the defaults, or with some that the constructor requires
OTHERS = [
    CrossEntropy(),
    CrossEntropy(0.1),
    OneForAll(),
    OneForAll(1.0),
    CRD(samples=20, negatives=6, width=8),
    RightReasons(),
    RightReasons(relative=False),
]
#: Every other loss of the package, found by itself: a new file needs no entry here.
DISCOVERED = [
    build() for target, build in buildable("losses").items() if target not in set(map(type, ZERO_AT_EQUALITY + OTHERS))
]
EVERY = ZERO_AT_EQUALITY + OTHERS + DISCOVERED
# Ascends, or is no comparison with the teacher's tensors
NOT_TOWARDS = (AdversarialFeatures, CRD, OneForAllExits, FactorTransfer, ReviewKD, VID)
WITH_TEACHER = [
    loss for loss in EVERY if any(name.startswith("teacher_") for name in inspect.signature(loss.forward).parameters)
]


def name_of(loss: nn.Module) -> str:
    return type(loss).__name__


def trained(loss: nn.Module) -> list[str]:
    # Sufficiency trains through the model and the attributions, and takes the logits as given
    names = [name for name in inspect.signature(loss.forward).parameters if name in TRAINED]
    return ["attributions"] if isinstance(loss, SufficientPart) else names


@pytest.mark.parametrize("loss", EVERY, ids=name_of)
class TestEveryLoss:
    def test_is_a_scalar_in_the_right_precision(self, loss: nn.Module) -> None:
        check_scalar(loss)

    def test_trains_the_student(self, loss: nn.Module) -> None:
        last_layer_only = {"features": example(loss)["features"][:1]} if isinstance(loss, CRD) else {}
        check_gradient_reaches(loss, *trained(loss), **last_layer_only)

    def test_is_finite_for_degenerate_tensors(self, loss: nn.Module) -> None:
        check_finite(loss)

    def test_leaves_its_signals_alone(self, loss: nn.Module) -> None:
        check_leaves_signals(loss)

    def test_can_be_pickled_and_copied(self, loss: nn.Module) -> None:
        signals = example(loss)
        restored = copy.deepcopy(pickle.loads(pickle.dumps(loss)))
        torch.testing.assert_close(evaluate(restored, signals), evaluate(loss, signals))

    def test_stays_in_single_precision_under_autocast(self, loss: nn.Module) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            value = evaluate(loss, example(loss))
        assert value.dtype == torch.float32
        assert bool(value.isfinite())


@pytest.mark.parametrize("loss", ZERO_AT_EQUALITY, ids=name_of)
def test_is_zero_for_a_perfect_student(loss: nn.Module) -> None:
    check_zero_at_equality(loss)


@pytest.mark.parametrize("loss", [loss for loss in WITH_TEACHER if not isinstance(loss, NOT_TOWARDS)], ids=name_of)
def test_pulls_towards_the_teacher(loss: nn.Module) -> None:
    check_pulls_towards_teacher(loss)


@pytest.mark.parametrize("loss", WITH_TEACHER, ids=name_of)
def test_refuses_another_batch(loss: nn.Module) -> None:
    def shorter(tensor: Tensor) -> Tensor:
        return tensor[:-1]

    check_refuses(loss, **{name: shorter for name in example(loss) if name.startswith("teacher_")})


@pytest.mark.parametrize("loss", [loss for loss in WITH_TEACHER if "logits" in example(loss)], ids=name_of)
def test_refuses_another_number_of_classes(loss: nn.Module) -> None:
    check_refuses(loss, teacher_logits=lambda x: x[:, :-1])


#: Losses that pair layers; CRD takes one of each.
PAIRED = [
    loss for loss in EVERY if {"features", "teacher_features"} <= example(loss).keys() and not isinstance(loss, CRD)
]


@pytest.mark.parametrize("loss", PAIRED, ids=name_of)
def test_refuses_another_number_of_layers(loss: nn.Module) -> None:
    check_refuses(loss, given={"features": example(loss)["features"][:1]})


def test_every_loss_of_the_package_is_among_the_cases() -> None:
    listed = {type(loss) for loss in EVERY}
    kernels = {Bilinear, TaylorGaussian}
    files = list(Path("kdlab/losses").rglob("[a-z]*.py"))
    assert len(files) >= len(listed)
    for file in files:
        module = importlib.import_module(".".join(file.with_suffix("").parts))
        for name, found in inspect.getmembers(module, inspect.isclass):
            mine = issubclass(found, nn.Module) and found.__module__ == module.__name__ and not name.startswith("_")
            asks = set(inspect.signature(found.forward).parameters) & {*TRAINED} if mine else set()
            assert not asks or found in listed | kernels, f"{name} requires arguments: its test file holds CASE"
