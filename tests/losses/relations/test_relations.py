import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.autograd.graph import saved_tensors_hooks

from kdlab.losses.relations.correlation_congruence import Bilinear, CorrelationCongruence, TaylorGaussian
from kdlab.losses.relations.crd import CRD
from kdlab.losses.relations.pkt import PKT
from kdlab.losses.relations.rkd_angle import RKDAngle
from kdlab.losses.relations.rkd_distance import RKDDistance
from kdlab.losses.relations.similarity_preserving import SimilarityPreserving
from kdlab.testing.losses import check_invariant

EVERY = [RKDDistance(), RKDAngle(), SimilarityPreserving(), PKT(), CorrelationCongruence()]


def naive_angles(student: Tensor, teacher: Tensor) -> Tensor:
    def cosines(x: Tensor) -> Tensor:
        directions = nn.functional.normalize(x[None, :] - x[:, None], dim=2)
        return torch.einsum("ijd,ikd->ijk", directions, directions)

    return nn.functional.smooth_l1_loss(cosines(student), cosines(teacher))


@pytest.mark.parametrize("loss", EVERY, ids=lambda loss: type(loss).__name__)
class TestEveryRelation:
    def test_the_order_of_samples_does_not_matter(self, loss: nn.Module) -> None:
        check_invariant(loss, features=lambda x: x.flip(0), teacher_features=lambda x: x.flip(0))

    def test_the_student_may_be_narrower(self, loss: nn.Module) -> None:
        student = torch.randn(4, 3, 5, 5, requires_grad=True)
        loss(student, torch.randn(4, 20)).backward()
        assert student.grad is not None
        assert student.grad.isfinite().all()

    def test_rotating_the_embeddings_costs_nothing(self, loss: nn.Module) -> None:
        teacher = torch.randn(6, 5).double()
        rotation = torch.linalg.qr(torch.randn(5, 5).double()).Q
        assert float(loss(teacher @ rotation, teacher)) < 1e-12

    def test_has_right_gradients_with_equal_samples_among_others(self, loss: nn.Module) -> None:
        teacher = torch.randn(4, 5).double()
        student = torch.randn(4, 3).double()
        with_equal = torch.cat([student, student[:1]]).requires_grad_()
        value = loss(with_equal, torch.cat([teacher, teacher[1:2]]))
        (gradient,) = torch.autograd.grad(value, with_equal)
        assert gradient.isfinite().all()
        assert gradient.abs().max() < 100
        assert gradcheck(lambda x: loss(x, teacher), student.requires_grad_())


class TestRKD:
    def test_distance_by_hand(self) -> None:
        # On a line at 0, 1, 3: distances 1, 2, 3 of mean 2; the teacher's are 1, 1, 2 of mean 4/3.
        # Relative: 0.5, 1, 1.5 against 0.75, 0.75, 1.5: squares 1/16 twice, halved, each pair both ways, over 9
        student, teacher = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [1.0], [2.0]])
        torch.testing.assert_close(RKDDistance()(student, teacher), torch.tensor(2 * 2 / 16 / 2 / 9))

    def test_angle_by_hand(self) -> None:
        # A right angle at the first point, 45 degrees at the others; the teacher's lie on a line, the first between.
        # Cosines 0, r, r with r = 1 / sqrt(2) against -1, 1, 1; each counts twice, with itself an angle is 1 in both
        student, teacher = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0], [1.0], [-1.0]])
        r = 1 / math.sqrt(2)
        expected = 2 * (0.5 + 2 * 0.5 * (1 - r) ** 2) / 27
        torch.testing.assert_close(RKDAngle()(student, teacher), torch.tensor(expected))

    @pytest.mark.parametrize("chunk", [1, 150, 2**20])
    def test_angle_does_not_depend_on_the_chunk(self, chunk: int) -> None:
        student, teacher = torch.randn(7, 4).double().requires_grad_(), torch.randn(7, 9).double()
        value = RKDAngle(chunk)(student, teacher)
        expected = naive_angles(student, teacher)
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(torch.autograd.grad(value, student), torch.autograd.grad(expected, student))

    def test_angle_keeps_no_more_than_the_batch_squared(self) -> None:
        batch, width = 64, 32
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.numel()
            return tensor

        student = torch.randn(batch, width, requires_grad=True)
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            value = RKDAngle(chunk=4 * batch**2)(student, torch.randn(batch, width))
        assert sum(kept.values()) <= 16 * (batch**2 + batch * width)
        value.backward()

    @pytest.mark.parametrize("loss", [RKDDistance(), RKDAngle()], ids=["distance", "angle"])
    def test_a_shift_far_from_the_origin_does_not_matter(self, loss: nn.Module) -> None:
        check_invariant(loss, features=lambda x: 3 * x + 100, tolerance=1e-4)

    def test_equal_samples_have_no_distance_in_single_precision(self) -> None:
        rows = torch.randn(1, 1000).expand(5, 1000) * 100
        assert RKDDistance()(rows, rows) == 0

    def test_refuses_no_chunk(self) -> None:
        with pytest.raises(ValueError, match="chunk must be positive"):
            RKDAngle(0)


class TestOthers:
    def test_similarity_by_hand(self) -> None:
        # Rows of G: student (1, 0), (0, 1); teacher (1, 1) / sqrt(2) twice; four differences
        r = 1 / math.sqrt(2)
        value = SimilarityPreserving()(torch.eye(2), torch.ones(2, 1))
        torch.testing.assert_close(value, torch.tensor(((1 - r) ** 2 + r**2) / 2))

    def test_pkt_by_hand(self) -> None:
        # Student's cosines 1 and 0: similarities 1 and 1/2, so (2/3, 1/3); the teacher's 1 and 1: (1/2, 1/2)
        value = PKT()(torch.eye(2), torch.ones(2, 1))
        torch.testing.assert_close(value, torch.tensor((math.log(0.75) + math.log(1.5)) / 4), atol=1e-6, rtol=0)

    def test_congruence_by_hand(self) -> None:
        # Gram matrices 1 and [[1, 1], [1, 1]] differ by 1 twice: sqrt(2) / 4
        value = CorrelationCongruence(Bilinear())(torch.eye(2), torch.ones(2, 1))
        torch.testing.assert_close(value, torch.tensor(math.sqrt(2) / 4))

    def test_the_series_approaches_the_gaussian_kernel(self) -> None:
        vectors = nn.functional.normalize(torch.randn(4, 3).double())
        gaussian = (-0.4 * torch.cdist(vectors, vectors).square()).exp()
        torch.testing.assert_close(TaylorGaussian(0.4, 20)(7 * vectors), gaussian)

    def test_refuse_bad_arguments(self) -> None:
        with pytest.raises(ValueError, match="epsilon must be positive"):
            PKT(0.0)
        with pytest.raises(ValueError, match="gamma and order must be positive"):
            TaylorGaussian(order=0)


class TestCRD:
    def prepared(self) -> tuple[CRD, list[Tensor], list[Tensor], Tensor]:
        loss = CRD(samples=10, negatives=4, width=3)
        student, teacher = [torch.randn(2, 5)], [torch.randn(2, 7)]
        loss.prepare(student, teacher)
        return loss, student, teacher, torch.tensor([3, 8])

    def test_value_by_hand(self) -> None:
        # One candidate of each kind, all scores equal, so g = 1 / N = 1 / 2 and noise K / N = 1 / 2: h = 1/2 everywhere
        loss = CRD(samples=2, negatives=1, width=1)
        loss.memory, loss.teacher_memory = torch.ones(2, 1), torch.ones(2, 1)
        loss.scale = torch.full((2,), 2 * math.exp(1 / 0.07))
        value = loss.contrast(torch.ones(1, 1), torch.ones(1, 1), torch.tensor([[0, 1]]))
        torch.testing.assert_close(value, torch.tensor(4 * math.log(2)))

    def test_a_sample_is_no_negative_of_its_own(self) -> None:
        loss = CRD(samples=3, negatives=200, width=2)
        candidates = loss.candidates(torch.tensor([0, 1, 2]))
        assert candidates[:, 0].tolist() == [0, 1, 2]
        for own, row in enumerate(candidates[:, 1:]):
            assert set(row.tolist()) == {0, 1, 2} - {own}

    def test_training_moves_the_memories_of_its_samples_alone(self) -> None:
        loss, student, teacher, index = self.prepared()
        before = loss.memory.clone(), loss.teacher_memory.clone()
        loss(student, teacher, index)
        for old, new in zip(before, (loss.memory, loss.teacher_memory), strict=True):
            assert (old != new).any(1).nonzero().flatten().tolist() == [3, 8]
            torch.testing.assert_close(new.norm(dim=1), torch.ones(10))

    def test_momentum_is_the_share_of_the_old_vector(self) -> None:
        loss = CRD(samples=2, negatives=1, width=2, momentum=0.75)
        loss.memory, loss.teacher_memory = torch.tensor([[1.0, 0.0]] * 2), torch.tensor([[0.0, 1.0]] * 2)
        loss.remember(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
        # 3/4 (1, 0) + 1/4 (0, 1) = (3, 1) / 4, of length sqrt(10) / 4
        moved = torch.tensor([3.0, 1.0]) / math.sqrt(10)
        torch.testing.assert_close(loss.memory, torch.stack([torch.tensor([1.0, 0.0]), moved]))
        torch.testing.assert_close(loss.teacher_memory, torch.stack([torch.tensor([0.0, 1.0]), moved.flip(0)]))

    def test_evaluation_changes_nothing(self) -> None:
        loss, student, teacher, index = self.prepared()
        before = copy.deepcopy(loss.state_dict())
        value = loss.eval()(student, teacher, index)
        assert value.isfinite()
        assert all(torch.equal(before[key], now) for key, now in loss.state_dict().items())

    def test_goes_on_from_a_state_dict_bit_for_bit(self) -> None:
        loss, student, teacher, index = self.prepared()
        loss(student, teacher, index)
        restored = self.prepared()[0]
        restored.load_state_dict(loss.state_dict())
        for _ in range(2):
            assert torch.equal(restored(student, teacher, index), loss(student, teacher, index))

    def test_draws_leave_the_global_generator_alone(self) -> None:
        loss, student, teacher, index = self.prepared()
        state = torch.get_rng_state()
        loss(student, teacher, index)
        assert torch.equal(state, torch.get_rng_state())

    def test_learning_brings_the_two_views_together(self) -> None:
        loss = CRD(samples=8, negatives=16, width=4)
        teacher = torch.randn(8, 6)
        student = torch.randn(8, 5, requires_grad=True)
        loss.prepare(student, teacher)
        optimiser = torch.optim.Adam([student, *loss.parameters()], lr=0.05)
        values = []
        for _ in range(60):
            value = loss(student, teacher, torch.arange(8))
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            values.append(float(value.detach()))
        assert values[-1] < 0.7 * values[0]

    def test_refuses_what_it_cannot_remember(self) -> None:
        loss, student, teacher, _ = self.prepared()
        with pytest.raises(ValueError, match="index 10 is not below the 10 samples"):
            loss(student, teacher, torch.tensor([0, 10]))
        with pytest.raises(RuntimeError, match="call prepare first"):
            CRD(samples=10)(student, teacher, torch.tensor([0, 1]))

    @pytest.mark.parametrize(
        "arguments", [{"samples": 1}, {"samples": 9, "temperature": 0.0}, {"samples": 9, "momentum": 1.0}]
    )
    def test_refuses_bad_arguments(self, arguments: dict[str, float]) -> None:
        with pytest.raises(ValueError, match="need "):
            CRD(**arguments)  # type: ignore[arg-type]  # of mixed types on purpose
