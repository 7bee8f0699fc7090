import math

import pytest
import torch
from torch import Tensor, nn

from kdlab.losses.explanations.attributed_part import NecessaryPart, SufficientPart
from kdlab.losses.explanations.class_activation_transfer import ClassActivationTransfer
from kdlab.losses.explanations.explanation_match import ExplanationMatch
from kdlab.losses.explanations.jacobian_matching import JacobianMatching
from kdlab.losses.explanations.part import evaluating, soft_part
from kdlab.losses.explanations.right_reasons import RightReasons
from kdlab.testing.losses import check_invariant, check_refuses


class TestExplanationMatch:
    def test_value_by_hand(self) -> None:
        # (3, 4) . (4, 3) / 25 = 24 / 25; orthogonal maps cost 1: the mean is (1 / 25 + 1) / 2
        value = ExplanationMatch()(torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[4.0, 3.0], [0.0, 2.0]]))
        torch.testing.assert_close(value, torch.tensor(0.52))

    def test_opposite_maps_cost_two(self) -> None:
        maps = torch.randn(3, 2, 4, 4)
        torch.testing.assert_close(ExplanationMatch()(maps, -maps), torch.tensor(2.0))

    def test_scale_does_not_matter(self) -> None:
        check_invariant(ExplanationMatch(), attributions=lambda x: 1e-6 * x, teacher_attributions=lambda x: 1e3 * x)

    def test_a_dead_map_costs_one_and_is_drawn_to_the_teachers(self) -> None:
        dead = torch.zeros(1, 4, requires_grad=True)
        value = ExplanationMatch()(dead, torch.tensor([[0.0, 3.0, 4.0, 0.0]]))
        (gradient,) = torch.autograd.grad(value, dead)
        assert float(value.detach()) == 1
        torch.testing.assert_close(gradient, torch.tensor([[0.0, -0.6, -0.8, 0.0]]))

    def test_sequences_and_tables_are_taken_as_well(self) -> None:
        for shape in ((7,), (5, 3), (1, 4, 4)):
            maps = torch.randn(2, *shape)
            torch.testing.assert_close(ExplanationMatch()(maps, 2 * maps), torch.tensor(0.0), atol=1e-6, rtol=0)

    def test_refuses_other_shapes(self) -> None:
        check_refuses(ExplanationMatch(), teacher_attributions=lambda x: x[:, :1])


class TestJacobianMatching:
    def test_value_by_hand(self) -> None:
        # Directions (0.6, 0.8) and (0, 1): 0.36 + 0.04; as they are: (3, 4) - (0, 2) = (3, 2), 13
        student, teacher = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]])
        torch.testing.assert_close(JacobianMatching()(student, teacher), torch.tensor(0.4))
        torch.testing.assert_close(JacobianMatching(normalise=False)(student, teacher), torch.tensor(13.0))

    def test_is_twice_the_explanation_match(self) -> None:
        student, teacher = torch.randn(2, 4, 5)
        torch.testing.assert_close(JacobianMatching()(student, teacher), 2 * ExplanationMatch()(student, teacher))


class TestRightReasons:
    def test_value_by_hand(self) -> None:
        # Of 9 + 16 squared, 16 lies outside
        attributions, mask = torch.tensor([[3.0, -4.0]]), torch.tensor([[1.0, 0.0]])
        torch.testing.assert_close(RightReasons(relative=False)(attributions, mask), torch.tensor(16.0))
        torch.testing.assert_close(RightReasons()(attributions, mask), torch.tensor(16 / 25))

    def test_evidence_inside_costs_nothing(self) -> None:
        mask = torch.zeros(2, 1, 4, 4)
        mask[..., :2] = 1
        assert RightReasons()(torch.randn(2, 3, 4, 4) * mask, mask) == 0

    @pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 1, 4, 4), (2, 4, 4)])
    def test_takes_masks_with_and_without_channels(self, shape: tuple[int, ...]) -> None:
        assert RightReasons()(torch.randn(2, 3, 4, 4), torch.zeros(shape)) == 1

    def test_refuses_a_mask_of_another_size(self) -> None:
        check_refuses(RightReasons(), mask=lambda x: x[..., :-1])


class TestClassActivationTransfer:
    def test_value_by_hand(self) -> None:
        # One cell: means 2 and 1; normalised both are 1
        student, teacher = torch.full((1, 1, 2, 2), 2.0), torch.ones(1, 1, 4, 4)
        torch.testing.assert_close(ClassActivationTransfer(1)([student], [teacher]), torch.tensor(1.0))
        assert ClassActivationTransfer(1, normalise=True)([student], [teacher]) == 0

    def test_refuses_other_classes(self) -> None:
        check_refuses(ClassActivationTransfer(), teacher_features=lambda x: x[:, :-1])

    def test_refuses_layers_without_positions(self) -> None:
        flat = torch.randn(2, 3)
        with pytest.raises(ValueError, match="no maps"):
            ClassActivationTransfer()([flat], [flat])

    def test_refuses_a_resolution_of_zero(self) -> None:
        with pytest.raises(ValueError, match="resolution must be positive, got 0"):
            ClassActivationTransfer(0)


class TestAttributedPart:
    def test_sufficiency_by_hand(self) -> None:
        # The strongest of the two is kept whole: the model sees (2, 0), logits (2, 0), against the whole's (2, 1)
        inputs, attributions = torch.tensor([[2.0, 1.0]]), torch.tensor([[5.0, -1.0]])
        loss = SufficientPart(share=0.5, sharpness=1e3)
        value = loss(nn.Identity(), inputs, inputs, attributions, torch.zeros(2))
        whole, kept = inputs.log_softmax(1), torch.tensor([[2.0, 0.0]]).log_softmax(1)
        torch.testing.assert_close(value, (whole.exp() * (whole - kept)).sum())

    def test_necessity_by_hand(self) -> None:
        # Without the strongest the model sees (0, 1): -log(1 - 1 / (1 + e)) for class 0
        inputs, attributions = torch.tensor([[2.0, 1.0]]), torch.tensor([[5.0, -1.0]])
        loss = NecessaryPart(share=0.5, sharpness=1e3)
        value = loss(nn.Identity(), inputs, attributions, torch.tensor([0]), torch.zeros(2))
        torch.testing.assert_close(value, torch.tensor(-math.log(1 - 1 / (1 + math.e))))

    def test_an_ignored_input_is_not_needed(self) -> None:
        class First(nn.Module):
            def forward(self, inputs: Tensor) -> Tensor:
                return torch.stack([3 * inputs[:, 0], torch.zeros(len(inputs))], dim=1)

        inputs, attributions, model = torch.ones(1, 2), torch.tensor([[1.0, 0.0]]), First()
        loss = SufficientPart(share=0.5, sharpness=1e3)
        right = loss(model, inputs, model(inputs), attributions, torch.zeros(2))
        wrong = loss(model, inputs, model(inputs), attributions.flip(1), torch.zeros(2))
        assert right < 1e-6 < wrong

    def test_a_part_is_the_stated_share(self) -> None:
        part = soft_part(torch.randn(3, 1, 10, 10), share=0.3, sharpness=1e4)
        torch.testing.assert_close(part.flatten(1).round().sum(1), torch.full((3,), 30.0))

    def test_scale_does_not_matter(self) -> None:
        check_invariant(SufficientPart(), attributions=lambda x: 1e-4 * x)

    def test_the_models_modes_come_back_also_after_an_error(self) -> None:
        model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2).eval())
        with evaluating(model):
            assert not any(module.training for module in model.modules())
        with pytest.raises(RuntimeError, match="mat1"), evaluating(model):
            nn.Linear(3, 2)(torch.ones(1, 4))
        assert model.training
        assert model[0].training
        assert not model[1].training

    @pytest.mark.parametrize("loss", [SufficientPart, NecessaryPart])
    def test_refuses_bad_arguments(self, loss: type[SufficientPart | NecessaryPart]) -> None:
        with pytest.raises(ValueError, match="share must be in"):
            loss(share=1.0)
        with pytest.raises(ValueError, match="sharpness must be positive"):
            loss(sharpness=0.0)
