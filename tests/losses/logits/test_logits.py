import inspect
import math

import pytest
import torch
from torch import nn

from kdlab.losses.logits.cross_entropy import CrossEntropy
from kdlab.losses.logits.decoupled_kd import DecoupledKD
from kdlab.losses.logits.dist import DIST
from kdlab.losses.logits.label_smoothing import LabelSmoothing
from kdlab.losses.logits.logit_mse import LogitMSE
from kdlab.losses.logits.multi_level import BatchCorrelation, ClassCorrelation, MultiLevelLogits
from kdlab.losses.logits.one_for_all import OneForAll, OneForAllExits
from kdlab.losses.logits.soft_targets import SoftTargets
from kdlab.losses.logits.standardised import Standardised
from kdlab.losses.logits.virtual_teacher import VirtualTeacher
from kdlab.losses.logits.weighted_soft_targets import WeightedSoftTargets
from kdlab.testing.losses import check_invariant, check_refuses

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


@pytest.mark.parametrize("loss", SHIFT_FREE, ids=lambda loss: type(loss).__name__)
def test_a_shift_of_the_logits_does_not_matter(loss: nn.Module) -> None:
    check_invariant(loss, logits=lambda x: x + 3.0)


@pytest.mark.parametrize(
    "loss", [LogitMSE, SoftTargets, DIST, ClassCorrelation, OneForAll, OneForAllExits, VirtualTeacher, DecoupledKD]
)
def test_refuses_a_temperature_of_zero(loss: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match=r"temperature must be positive, got 0\.0"):
        loss(temperature=0.0)


class TestCrossEntropy:
    def test_value_by_hand(self) -> None:
        # p = (3/4, 1/4): -ln(3/4) for the only labelled sample
        logits = torch.tensor([[3.0, 1.0], [5.0, 7.0]]).log()
        torch.testing.assert_close(CrossEntropy()(logits, torch.tensor([0, -1])), torch.tensor(-math.log(0.75)))

    def test_without_labels_is_a_zero_on_the_graph(self) -> None:
        logits = torch.randn(3, 4, requires_grad=True)
        value = CrossEntropy()(logits, UNLABELLED)
        (gradient,) = torch.autograd.grad(value, logits)
        assert float(value.detach()) == 0
        assert not gradient.any()

    def test_unlabelled_samples_get_no_gradient(self) -> None:
        logits = torch.randn(3, 4, requires_grad=True)
        (gradient,) = torch.autograd.grad(CrossEntropy(0.1)(logits, torch.tensor([1, -1, 2])), logits)
        assert gradient[[0, 2]].any(1).all()
        assert not gradient[1].any()

    def test_compiles_without_a_break(self) -> None:
        compiled = torch.compile(CrossEntropy(), backend="eager", fullgraph=True)
        logits, target = torch.randn(3, 4), torch.tensor([1, -1, 2])
        torch.testing.assert_close(compiled(logits, target), CrossEntropy()(logits, target))

    @pytest.mark.parametrize("smoothing", [-0.1, 1.0])
    def test_refuses_a_smoothing_out_of_range(self, smoothing: float) -> None:
        with pytest.raises(ValueError, match="label_smoothing must be in"):
            CrossEntropy(smoothing)


class TestSoftTargets:
    def test_value_by_hand(self) -> None:
        # teacher (3/4, 1/4), student (1/2, 1/2): KL = 3/4 ln(3/2) + 1/4 ln(1/2) = 0.1308
        value = SoftTargets(temperature=1.0)(torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]).log())
        torch.testing.assert_close(value, torch.tensor(0.1308), atol=1e-4, rtol=0)

    def test_approaches_half_the_squared_difference_at_high_temperature(self) -> None:
        # Hinton et al. 2015, section 2.1: for zero-mean logits T^2 KL tends to mean_b sum_c (s - t)^2 / (2 classes)
        student, teacher = (x - x.mean(1, keepdim=True) for x in torch.randn(2, 4, 5).double())
        limit = (student - teacher).square().sum(1).mean() / 10
        torch.testing.assert_close(SoftTargets(1e4)(student, teacher), limit, rtol=1e-3, atol=0)

    def test_compiles_without_a_break(self) -> None:
        compiled = torch.compile(SoftTargets(), backend="eager", fullgraph=True)
        logits, teacher = torch.randn(2, 3, 4)
        torch.testing.assert_close(compiled(logits, teacher), SoftTargets()(logits, teacher))


class TestLogitMSE:
    def test_value_by_hand(self) -> None:
        # ((1 - 0)^2 + (2 - 4)^2) / 2 = 2.5, a quarter of it at T = 2
        student, teacher = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]])
        torch.testing.assert_close(LogitMSE()(student, teacher), torch.tensor(2.5))
        torch.testing.assert_close(LogitMSE(2.0)(student, teacher), torch.tensor(0.625))


class TestDecoupledKD:
    def test_value_by_hand(self) -> None:
        # y = 0, teacher (1/2, 3/8, 1/8), student even. b: (1/2, 1/2) and (1/3, 2/3); q: (3/4, 1/4) and (1/2, 1/2)
        teacher = torch.tensor([[4.0, 3.0, 1.0]]).log()
        on_target = 0.5 * math.log(1.5) + 0.5 * math.log(0.75)
        on_others = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
        value = DecoupledKD(2.0, 3.0, 1.0)(torch.zeros(1, 3), teacher, torch.tensor([0]))
        torch.testing.assert_close(value, torch.tensor(2 * on_target + 3 * on_others))

    def test_recomposes_to_soft_targets(self) -> None:
        # Zhao et al. 2022, equation 6: KL = target part + (1 - p_y of the teacher) * others' part
        student, teacher = torch.randn(2, 1, 6).double()
        label = torch.tensor([2])
        others_weight = 1 - float((teacher / 4).softmax(1)[0, 2])
        value = DecoupledKD(1.0, others_weight, 4.0)(student, teacher, label)
        torch.testing.assert_close(value, SoftTargets(4.0)(student, teacher))

    def test_an_unlabelled_sample_uses_the_teachers_class(self) -> None:
        student, teacher = torch.randn(2, 3, 5)
        value = DecoupledKD()(student, teacher, UNLABELLED)
        torch.testing.assert_close(value, DecoupledKD()(student, teacher, teacher.argmax(1)))

    def test_is_exact_where_one_minus_p_rounds_to_zero(self) -> None:
        # The target leads by 1000: -log(1 - p) is 1000 and no infinity. Teacher even over two classes, so ln(1/2) + 500
        student = torch.tensor([[1000.0, 0.0]])
        value = DecoupledKD(1.0, 0.0, 1.0)(student, torch.zeros(1, 2), torch.tensor([0]))
        torch.testing.assert_close(value, torch.tensor(500 - math.log(2)))

    def test_refuses_negative_weights(self) -> None:
        with pytest.raises(ValueError, match="weights must not be negative, got -1"):
            DecoupledKD(target_weight=-1)


class TestDIST:
    def test_value_by_hand(self) -> None:
        # Two samples, two classes, the student's predictions swapped: all correlations are -1, so (1 + 1) + 2 (1 + 1)
        teacher = torch.tensor([[3.0, 1.0], [1.0, 3.0]])
        torch.testing.assert_close(DIST(1.0, 2.0)(teacher.flip(1), teacher), torch.tensor(6.0))

    def test_a_batch_of_one_has_no_correlation_over_samples(self) -> None:
        logits = torch.randn(1, 5)
        torch.testing.assert_close(DIST(temperature=2.0)(logits, logits), torch.tensor(4.0))

    def test_refuses_negative_weights(self) -> None:
        with pytest.raises(ValueError, match="weights must not be negative"):
            DIST(intra=-1)


class TestStandardised:
    def test_value_by_hand(self) -> None:
        # (1, 3) becomes (-1, 1) / sqrt(2), (8, 4) becomes (1, -1) / sqrt(2): each logit differs by sqrt(2)
        value = Standardised(LogitMSE())(torch.tensor([[1.0, 3.0]]), torch.tensor([[8.0, 4.0]]))
        torch.testing.assert_close(value, torch.tensor(2.0))

    def test_shift_and_scale_of_the_logits_do_not_matter(self) -> None:
        check_invariant(Standardised(SoftTargets()), logits=lambda x: 5 * x + 3, teacher_logits=lambda x: 0.1 * x)

    @pytest.mark.parametrize("loss", [SoftTargets(), DecoupledKD(), OneForAll(), MultiLevelLogits()])
    def test_asks_for_what_the_loss_asks_for(self, loss: nn.Module) -> None:
        names = list(inspect.signature(Standardised(loss).forward).parameters)
        assert names == list(inspect.signature(loss.forward).parameters)

    def test_moves_its_loss_along(self) -> None:
        assert [name for name, _ in Standardised(SoftTargets()).named_modules()] == ["", "loss"]

    def test_refuses_a_loss_without_logits(self) -> None:
        with pytest.raises(ValueError, match="MSELoss asks for no logits"):
            Standardised(nn.MSELoss())


class TestMultiLevelLogits:
    def test_correlations_by_hand(self) -> None:
        # Student even: P^T P = 1/2 everywhere, two samples. Teacher one-hot and alike: 2 at one place, 0 elsewhere
        student, teacher = torch.zeros(2, 2), torch.tensor([[1e3, 0.0], [1e3, 0.0]])
        # Classes: (0.5 - 2)^2 + 3 * 0.25 = 3, / 2. Samples: P P^T = 1/2 against 1 everywhere: 4 * 0.25, / 2
        torch.testing.assert_close(ClassCorrelation()(student, teacher), torch.tensor(1.5))
        torch.testing.assert_close(BatchCorrelation()(student, teacher), torch.tensor(0.5))

    def test_is_the_sum_of_its_levels(self) -> None:
        student, teacher = torch.randn(2, 4, 5)
        levels = (SoftTargets, ClassCorrelation, BatchCorrelation)
        parts = [level(temperature)(student, teacher) for temperature in (2.0, 5.0) for level in levels]
        torch.testing.assert_close(MultiLevelLogits((2.0, 5.0))(student, teacher), torch.stack(parts).sum())

    def test_refuses_no_temperature(self) -> None:
        with pytest.raises(ValueError, match="temperatures must name at least one"):
            MultiLevelLogits(())


class TestOneForAll:
    def test_value_by_hand(self) -> None:
        # g = 2, teacher (1/2, 1/2), y = 0: weights (3/2)^2 - 1 = 5/4 and 1/4, student even: 1.5 ln 2
        value = OneForAll(2.0)(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([0]))
        torch.testing.assert_close(value, torch.tensor(1.5 * math.log(2)))

    def test_has_its_stated_minimum(self) -> None:
        teacher, target = torch.randn(1, 4).double(), torch.tensor([1])
        label = nn.functional.one_hot(target, 4)
        weights = (teacher.softmax(1) + label) ** 1.5 - label
        best = (weights / weights.sum()).log().requires_grad_()
        (gradient,) = torch.autograd.grad(OneForAll()(best, teacher, target), best)
        torch.testing.assert_close(gradient, torch.zeros_like(gradient))

    def test_exits_need_to_be_prepared(self) -> None:
        with pytest.raises(RuntimeError, match="1 layers of features but 0 heads; call prepare first"):
            OneForAllExits()([torch.randn(2, 3)], torch.randn(2, 4), torch.tensor([0, 1]))

    def test_exits_train_their_heads(self) -> None:
        loss, features, teacher = OneForAllExits(), [torch.randn(2, 3, 4, 4), torch.randn(2, 6)], torch.randn(2, 5)
        loss.prepare(features, teacher)
        loss(features, teacher, torch.tensor([0, -1])).backward()
        assert len(list(loss.parameters())) == 4
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in loss.parameters())

    def test_refuses_an_enhancement_below_one(self) -> None:
        with pytest.raises(ValueError, match="enhancement must be at least 1"):
            OneForAll(0.5)


class TestWeightedSoftTargets:
    def test_a_student_that_knows_the_label_has_nothing_to_learn(self) -> None:
        logits = torch.tensor([[50.0, 0.0]])
        value = WeightedSoftTargets()(logits, torch.zeros(1, 2), torch.tensor([0]))
        assert value < 1e-6

    def test_value_by_hand(self) -> None:
        # Both even over two classes: w = 1 - 1/e, cross-entropy ln 2, T^2 = 4
        value = WeightedSoftTargets()(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([0]))
        torch.testing.assert_close(value, torch.tensor(4 * (1 - math.exp(-1)) * math.log(2)))


def test_a_wrong_number_of_classes_is_named() -> None:
    with pytest.raises(ValueError, match=r"logits of shape \(2, 3\) and teacher_logits of shape \(2, 4\) do not match"):
        SoftTargets()(torch.randn(2, 3), torch.randn(2, 4))
    check_refuses(Standardised(SoftTargets()), teacher_logits=lambda x: x[:, 1:])
