import math

import pytest
import torch
from torch import nn

from kdlab.losses.features.activation_boundary import ActivationBoundary
from kdlab.losses.features.adversarial_features import AdversarialFeatures
from kdlab.losses.features.channel_wise import ChannelWise
from kdlab.losses.features.factor_transfer import FactorMatch, FactorTransfer
from kdlab.losses.features.fit_nets import FitNets
from kdlab.losses.features.fsp import FSP
from kdlab.losses.features.pearson_features import PearsonFeatures
from kdlab.losses.features.review_kd import HierarchicalContext, ReviewKD
from kdlab.losses.features.vid import VID, gaussian_cost

SEEDED = torch.Generator().manual_seed(0)
NARROW = [torch.randn(4, 3, 6, 6, generator=SEEDED), torch.randn(4, 5, 3, 3, generator=SEEDED)]
WIDE = [torch.randn(4, 6, 6, 6, generator=SEEDED), torch.randn(4, 10, 3, 3, generator=SEEDED)]
MADE = [
    FitNets(),
    FSP(),
    ChannelWise(),
    PearsonFeatures(),
    ActivationBoundary(),
    FactorTransfer(),
    VID(),
    ReviewKD(),
    AdversarialFeatures(),
]


@pytest.mark.parametrize("loss", MADE, ids=lambda loss: type(loss).__name__)
class TestMadeParts:
    def test_are_parameters_that_train(self, loss: nn.Module) -> None:
        loss = type(loss)()
        loss.prepare(NARROW, WIDE)
        loss(NARROW, WIDE).backward()
        parameters = list(loss.parameters())
        assert parameters
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in parameters)
        assert sum(bool(p.grad.any()) for p in parameters if p.grad is not None) == len(parameters)

    def test_come_back_from_a_state_dict(self, loss: nn.Module) -> None:
        saved, restored = type(loss)(), type(loss)()
        saved.prepare(NARROW, WIDE)
        restored.prepare([x + 1 for x in NARROW], WIDE)
        restored.load_state_dict(saved.state_dict())
        torch.testing.assert_close(restored(NARROW, WIDE), saved(NARROW, WIDE))

    def test_work_when_the_whole_training_is_in_half_precision(self, loss: nn.Module) -> None:
        loss = type(loss)()
        loss.prepare(NARROW, WIDE)
        value = loss.bfloat16()([x.bfloat16() for x in NARROW], [x.bfloat16() for x in WIDE])
        assert value.dtype == torch.float32

    def test_are_asked_for_when_missing(self, loss: nn.Module) -> None:
        with pytest.raises((RuntimeError, ValueError), match=r"call prepare first|do not match"):
            type(loss)()(NARROW, WIDE)


class TestFactors:
    def test_value_by_hand(self) -> None:
        # (0.6, 0.8) and (0, 1): (0.6 + 0.2) / 2, squared (0.36 + 0.04) / 2
        student, teacher = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]])
        torch.testing.assert_close(FactorMatch()(student, teacher), torch.tensor(0.4))
        torch.testing.assert_close(FactorMatch(2.0)(student, teacher), torch.tensor(0.2))

    def test_the_student_does_not_bend_the_paraphraser(self) -> None:
        loss = FactorTransfer()
        loss.prepare(NARROW, WIDE)
        first = [p.clone() for p in torch.autograd.grad(loss(NARROW, WIDE), list(loss.encoders.parameters()))]
        second = torch.autograd.grad(loss([x + 1 for x in NARROW], WIDE), list(loss.encoders.parameters()))
        torch.testing.assert_close(second, tuple(first))

    def test_refuses_bad_arguments(self) -> None:
        with pytest.raises(ValueError, match="rate must be positive"):
            FactorTransfer(rate=0.0)
        with pytest.raises(ValueError, match="p must be at least 1"):
            FactorMatch(0.0)


class TestVID:
    def test_value_by_hand(self) -> None:
        # ((3 - 1)^2 / 2 + ln 2) / 2
        value = gaussian_cost(torch.tensor([[3.0]]), torch.tensor([2.0]), torch.tensor([[1.0]]))
        torch.testing.assert_close(value, torch.tensor(1 + math.log(2) / 2))

    def test_starts_at_the_stated_variance(self) -> None:
        loss = VID(initial_variance=2.0)
        loss.prepare(NARROW, WIDE)
        torch.testing.assert_close(nn.functional.softplus(loss.scales[0]) + loss.epsilon, torch.full((6, 1, 1), 2.0))

    def test_refuses_a_variance_below_epsilon(self) -> None:
        with pytest.raises(ValueError, match="initial_variance > epsilon"):
            VID(initial_variance=0.0)


class TestReviewKD:
    def test_pyramid_by_hand(self) -> None:
        # 2 x 2 maps that differ by (2, -2, 0, 0): 2 at full size, 0 pooled to one, (2 + 0 / 2) / 1.5
        student = torch.tensor([[[[2.0, -2.0], [0.0, 0.0]]]])
        value = HierarchicalContext()([student], [torch.zeros_like(student)])
        torch.testing.assert_close(value, torch.tensor(2 / 1.5))

    def test_a_deep_layer_is_reviewed_against_shallow_ones(self) -> None:
        loss = ReviewKD()
        loss.prepare(NARROW, WIDE)
        deep = NARROW[1].clone().requires_grad_()
        review, _ = loss.fusions[1](deep, None, (3, 3))
        _, shallow = loss.fusions[0](NARROW[0], review, (6, 6))
        assert shallow.shape == WIDE[0].shape
        assert torch.autograd.grad(shallow.square().sum(), deep)[0].any()

    def test_refuses_layers_that_are_no_images(self) -> None:
        flat = torch.randn(2, 3)
        with pytest.raises(ValueError, match=r"are not \(batch, channels, height, width\)"):
            HierarchicalContext()([flat], [flat])

    def test_refuses_no_width(self) -> None:
        with pytest.raises(ValueError, match="width must be positive"):
            ReviewKD(width=0)


class TestAdversarialFeatures:
    def test_an_undecided_discriminator_costs_two_bits(self) -> None:
        loss = AdversarialFeatures()
        loss.prepare(WIDE, WIDE)
        for parameter in loss.parameters():
            nn.init.zeros_(parameter)
        torch.testing.assert_close(loss(WIDE, WIDE), torch.tensor(2 * 2 * math.log(2)))

    def test_the_student_ascends_what_the_discriminator_descends(self) -> None:
        torch.manual_seed(1)
        loss = AdversarialFeatures(reversal=0.5)
        student = WIDE[0].clone().requires_grad_()
        loss.prepare(student, WIDE[0])
        value = loss(student, WIDE[0])
        (reversed_gradient,) = torch.autograd.grad(value, student)
        with torch.no_grad():
            assert loss(student + 0.1 * reversed_gradient.sign(), WIDE[0]) < value
            moved = loss(student - 0.1 * reversed_gradient.sign(), WIDE[0])
        assert moved > value

    def test_refuses_bad_arguments(self) -> None:
        with pytest.raises(ValueError, match="must be positive"):
            AdversarialFeatures(reversal=0.0)
