import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from kdlab.losses.features.activation_boundary import ActivationBoundary
from kdlab.losses.features.attention_transfer import AttentionTransfer
from kdlab.losses.features.channel_wise import ChannelWise
from kdlab.losses.features.fit_nets import FitNets
from kdlab.losses.features.fsp import FSP
from kdlab.losses.features.nst import NST
from kdlab.losses.features.pearson_features import PearsonFeatures
from kdlab.losses.features.transformer import AttentionMaps, HiddenStates
from kdlab.testing.losses import check_invariant, check_refuses

SEEDED = torch.Generator().manual_seed(0)
NARROW = [torch.randn(4, 3, 6, 6, generator=SEEDED), torch.randn(4, 5, 3, 3, generator=SEEDED)]
WIDE = [torch.randn(4, 6, 6, 6, generator=SEEDED), torch.randn(4, 10, 3, 3, generator=SEEDED)]


class Largest(TorchDispatchMode):
    """Notes how many elements the largest tensor has that anything makes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


class TestAttentionTransfer:
    def test_value_by_hand(self) -> None:
        # Maps (9, 16) / sqrt(337) and (1, 0), mean over the two places
        student, teacher = torch.tensor([[[3.0, 4.0]]]), torch.tensor([[[1.0, 0.0]]])
        expected = ((9 / math.sqrt(337) - 1) ** 2 + (16 / math.sqrt(337)) ** 2) / 2
        torch.testing.assert_close(AttentionTransfer()([student], [teacher]), torch.tensor(expected))

    def test_scale_sign_and_order_of_channels_do_not_matter(self) -> None:
        check_invariant(AttentionTransfer(), features=lambda x: -3 * x.flip(1))

    def test_layers_are_summed_and_one_tensor_is_one_layer(self) -> None:
        value = AttentionTransfer()(NARROW, WIDE)
        torch.testing.assert_close(
            value, AttentionTransfer()(NARROW[0], WIDE[0]) + AttentionTransfer()(NARROW[1], WIDE[1])
        )

    def test_refuses_layers_without_positions(self) -> None:
        with pytest.raises(ValueError, match=r"are not both \(batch, channels, positions...\)"):
            AttentionTransfer()([torch.randn(2, 3)], [torch.randn(2, 3)])

    def test_refuses_no_layers(self) -> None:
        with pytest.raises(ValueError, match="0 layers of features and 0 of teacher_features"):
            AttentionTransfer()([], [])

    def test_refuses_a_power_below_one(self) -> None:
        with pytest.raises(ValueError, match="p must be at least 1"):
            AttentionTransfer(0.5)


class TestFitNets:
    def test_value_by_hand(self) -> None:
        # Differences 2 and 0: half of 4
        assert FitNets()(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 2.0]])) == 2

    def test_equal_channels_need_no_projector(self) -> None:
        loss = FitNets()
        loss.prepare(WIDE, WIDE)
        assert not list(loss.parameters())
        assert loss(WIDE, WIDE) == 0

    def test_maps_of_other_sizes_are_pooled(self) -> None:
        layer = torch.randn(2, 3, 4, 4)
        assert FitNets()([layer], [nn.functional.adaptive_avg_pool2d(layer, 2)]) == 0


class TestFSP:
    def test_value_by_hand(self) -> None:
        # One channel, two places: G_s = (1 * 3 + 2 * 4) / 2 = 5.5, G_t = 1
        first, second = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[3.0, 4.0]]])
        one = torch.ones(1, 1, 2)
        torch.testing.assert_close(FSP()([first, second], [one, one]), torch.tensor(20.25))

    def test_refuses_a_single_layer(self) -> None:
        with pytest.raises(ValueError, match="needs at least two, got 1"):
            FSP()(WIDE[:1], WIDE[:1])


class TestNST:
    def test_value_by_hand(self) -> None:
        # Student's channels (1, 0) and (0, 1): k = 1, 0, 0, 1; teacher's (1, 0): k = 1; between 1, 0
        student, teacher = torch.eye(2)[None], torch.tensor([[[2.0, 0.0]]])
        torch.testing.assert_close(NST()([student], [teacher]), torch.tensor(0.5 + 1 - 2 * 0.5))

    def test_both_ways_to_sum_agree(self) -> None:
        # 40 channels at 9 places are summed over places, 3 channels over channels
        student, teacher = torch.randn(2, 3, 3, 3).double(), torch.randn(2, 40, 3, 3).double()
        units = [nn.functional.normalize(x.flatten(2), dim=2) for x in (student, teacher)]
        naive = [
            torch.einsum("bip,bjp->bij", a, b).square().mean() for a, b in [(units[0],) * 2, (units[1],) * 2, units]
        ]
        torch.testing.assert_close(NST()([student], [teacher]), naive[0] + naive[1] - 2 * naive[2])

    @pytest.mark.parametrize("shape", [(2, 64, 4, 4), (2, 4, 16, 16), (2, 32, 8, 8)])
    def test_makes_no_tensor_larger_than_the_layer(self, shape: tuple[int, ...]) -> None:
        layer = torch.randn(shape, requires_grad=True)
        with Largest() as largest:
            torch.autograd.grad(NST()([layer], [torch.randn(shape)]), layer)
        assert largest.elements <= layer.numel()


class TestActivationBoundary:
    def test_value_by_hand(self) -> None:
        # Teacher active: (1 - 0.5)^2; inactive: (1 + 2)^2; on the right side by the margin: 0
        value = ActivationBoundary()(torch.tensor([[0.5, 2.0, -1.0]]), torch.tensor([[3.0, -3.0, -3.0]]))
        torch.testing.assert_close(value, torch.tensor(9.25))

    def test_refuses_a_margin_of_zero(self) -> None:
        with pytest.raises(ValueError, match="margin must be positive"):
            ActivationBoundary(0.0)


class TestChannelWise:
    def test_value_by_hand(self) -> None:
        # T = 2, one channel: teacher (3/4, 1/4) at T, student even: 4 * 0.1308
        teacher = 2 * torch.tensor([[[3.0, 1.0]]]).log()
        value = ChannelWise(2.0)(torch.zeros(1, 1, 2), teacher)
        torch.testing.assert_close(value, torch.tensor(4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))))

    def test_refuses_other_sizes(self) -> None:
        check_refuses(ChannelWise(), teacher_features=lambda x: x[..., :-1])

    def test_refuses_a_temperature_of_zero(self) -> None:
        with pytest.raises(ValueError, match="temperature must be positive"):
            ChannelWise(0.0)


class TestPearsonFeatures:
    def test_value_by_hand(self) -> None:
        # Opposite channels: n differs by 2 n, the mean of n^2 is (count - 1) / count, here 1/2: 4 / 2 / 2
        channel = torch.tensor([[1.0], [3.0]])
        torch.testing.assert_close(PearsonFeatures()(channel, -channel), torch.tensor(1.0))

    def test_shift_and_scale_of_channels_do_not_matter(self) -> None:
        check_invariant(PearsonFeatures(), features=lambda x: 4 * x + 1)


class TestTransformer:
    def test_attention_maps_by_hand(self) -> None:
        assert AttentionMaps()(torch.eye(2)[None, None], torch.zeros(1, 1, 2, 2)) == 0.5

    def test_heads_are_averaged_where_their_numbers_differ(self) -> None:
        student, teacher = torch.rand(2, 2, 5, 5), torch.rand(2, 8, 5, 5)
        expected = AttentionMaps()(student.mean(1), teacher.mean(1))
        torch.testing.assert_close(AttentionMaps()(student, teacher), expected)

    def test_hidden_states_by_hand(self) -> None:
        assert HiddenStates()(torch.zeros(1, 3, 2), torch.full((1, 3, 2), 2.0)) == 4

    def test_narrower_hidden_states_are_projected(self) -> None:
        loss, student, teacher = HiddenStates(), torch.randn(2, 5, 4), torch.randn(2, 5, 8)
        loss.prepare(student, teacher)
        assert [tuple(p.shape) for p in loss.parameters()] == [(8, 4)]
        loss(student, teacher).backward()

    def test_refuses_other_numbers_of_tokens(self) -> None:
        with pytest.raises(ValueError, match="do not match"):
            HiddenStates()(torch.randn(2, 5, 4), torch.randn(2, 6, 4))
        with pytest.raises(ValueError, match="do not match"):
            AttentionMaps()(torch.randn(2, 2, 5, 5), torch.randn(2, 2, 6, 6))
