import math

import pytest
import torch

from kdlab.losses.logits.cross_entropy import CrossEntropy
from kdlab.losses.logits.decoupled_kd import DecoupledKD
from kdlab.losses.logits.dist import DIST
from kdlab.losses.logits.label_smoothing import LabelSmoothing
from kdlab.losses.logits.multi_level import MultiLevelLogits
from kdlab.losses.logits.one_for_all import OneForAll
from kdlab.losses.logits.soft_targets import SoftTargets
from kdlab.losses.logits.virtual_teacher import VirtualTeacher
from kdlab.losses.logits.weighted_soft_targets import WeightedSoftTargets

SHIFT_FREE = [
    SoftTargets(1.0),
    SoftTargets(8.0),
    DecoupledKD(),
    DIST(),
    MultiLevelLogits(),
    OneForAll(),
    WeightedSoftTargets(),
    VirtualTeacher(),
    CrossEntropy(),
    LabelSmoothing(),
]
UNLABELLED = torch.tensor([-1, -1, -1])


class TestControls:
    def test_label_smoothing_by_hand(self) -> None:
        # KL from (1/2, 1/2) to (3/4, 1/4): 1/2 ln(2/3) + 1/2 ln(2)
        value = LabelSmoothing()(torch.tensor([[3.0, 1.0]]).log())
        torch.testing.assert_close(value, torch.tensor(0.5 * math.log(2 / 3) + 0.5 * math.log(2)))

    def test_label_smoothing_is_that_of_cross_entropy_less_a_constant(self) -> None:
        logits, target = torch.randn(4, 5), torch.randint(5, (4,))
        mixed = 0.9 * CrossEntropy()(logits, target) + 0.1 * LabelSmoothing()(logits)
        torch.testing.assert_close(mixed + 0.1 * math.log(5), CrossEntropy(0.1)(logits, target))

    def test_label_smoothing_is_zero_for_constant_logits(self) -> None:
        torch.testing.assert_close(LabelSmoothing()(torch.full((3, 4), 7.0)), torch.tensor(0.0))

    def test_virtual_teacher_by_hand(self) -> None:
        # u = (3/4, 1/4) softened at T = 2 has odds sqrt(3); the student is even; times 4
        p = math.sqrt(3) / (1 + math.sqrt(3))
        divergence = p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))
        value = VirtualTeacher(0.75, 2.0)(torch.zeros(1, 2), torch.tensor([0]))
        torch.testing.assert_close(value, torch.tensor(4 * divergence))

    def test_virtual_teacher_is_zero_for_its_own_logits_and_without_labels(self) -> None:
        logits = torch.tensor([[0.01 / 2, 0.99, 0.01 / 2]]).log()
        torch.testing.assert_close(VirtualTeacher()(logits, torch.tensor([1])), torch.tensor(0.0), atol=1e-5, rtol=0)
        assert VirtualTeacher()(torch.randn(3, 4), UNLABELLED) == 0

    def test_virtual_teacher_refuses_certainty(self) -> None:
        with pytest.raises(ValueError, match="correct must be in"):
            VirtualTeacher(correct=1.0)
