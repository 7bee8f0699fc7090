"""Grad-CAM, CAM and attention rollout, against captum and by hand."""

from collections.abc import Sequence

import captum.attr
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from kdlab.explainers.attention_rollout import AttentionRollout
from kdlab.explainers.class_activation_map import ClassActivationMap
from kdlab.explainers.grad_cam import GradCam
from kdlab.models.transformer import Transformer, _EncoderBlock
from kdlab.testing.explained import Attention, conv, dense


def test_grad_cam_by_hand() -> None:
    # One layer that doubles and one that negates; the logit of class 0 is the mean of both channels' sums.
    layer = nn.Conv1d(1, 2, 1, bias=False)
    head = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[2.0]], [[-1.0]]]))
        head.weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))
    model = nn.Sequential(layer, nn.AdaptiveAvgPool1d(1), nn.Flatten(), head)
    inputs = torch.tensor([[[1.0, -2.0]]])
    # Slopes by each position are 1/2 for both channels: relu((2x - x) / 2), and relu(-x / 2) for the other class.
    torch.testing.assert_close(GradCam(model, "0").attribute(inputs, torch.tensor([0])), torch.tensor([[[0.5, 0.0]]]))
    torch.testing.assert_close(GradCam(model, "0").attribute(inputs, torch.tensor([1])), torch.tensor([[[0.0, 1.0]]]))
    # CAM is signed and lacks the 1/2 of the mean: 2x - x.
    torch.testing.assert_close(ClassActivationMap(model, "0", "3").attribute(inputs, torch.tensor([0])), inputs)


def test_grad_cam_equals_captum_in_every_channel() -> None:
    model, inputs, target = conv().eval(), torch.randn(3, 2, 8, 8), torch.tensor([0, 1, 2])
    maps = captum.attr.LayerGradCam(model, model[4]).attribute(inputs, target, relu_attributions=True)
    wanted = captum.attr.LayerAttribution.interpolate(maps, (8, 8), interpolate_mode="bilinear")
    ours = GradCam(model, "4").attribute(inputs, target)
    torch.testing.assert_close(ours, wanted.expand(-1, 2, -1, -1))


def test_grad_cam_has_right_derivatives_by_the_weights() -> None:
    model = conv().eval().double()
    inputs, target = torch.randn(2, 2, 8, 8, dtype=torch.float64), torch.tensor([0, 1])
    weight = model.get_parameter("3.weight")
    assert gradcheck(lambda _: GradCam(model, "4").attribute(inputs, target), weight, fast_mode=True)


def test_grad_cam_works_on_a_frozen_model() -> None:
    model = conv().eval().requires_grad_(False)
    inputs = torch.randn(2, 2, 8, 8)
    with torch.no_grad():
        assert GradCam(model, "4").attribute(inputs).shape == inputs.shape


def test_the_class_activation_maps_mean_is_the_logit() -> None:
    # The layer has the inputs' own grid, because stretching keeps a map's mean only roughly.
    layers = [nn.Conv2d(2, 5, 3, padding=1), nn.Softplus(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)]
    model, inputs, target = nn.Sequential(*layers).eval(), torch.randn(2, 2, 8, 8), torch.tensor([0, 2])
    maps = ClassActivationMap(model, "1", "4").attribute(inputs, target)
    logits = (model(inputs) - model.get_parameter("4.bias")).gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(maps[:, 0].mean(dim=(1, 2)), logits)


def test_a_layer_without_positions_is_refused() -> None:
    with pytest.raises(ValueError, match="Grad-CAM needs a layer"):
        GradCam(dense(), "0").attribute(torch.randn(2, 6))
    with pytest.raises(ValueError, match="choose the spatial layer"):
        ClassActivationMap(conv(), "2", "7").attribute(torch.randn(2, 2, 8, 8))
    with pytest.raises(KeyError, match="no layer 'layer9'"):
        GradCam(conv(), "layer9")
    with pytest.raises(TypeError, match=r"needs an nn\.Linear"):
        ClassActivationMap(conv(), "4", "0")


class TwoTokens(nn.Module):
    """Attention whose keys and queries are zero looks everywhere alike."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.MultiheadAttention(2, 1, batch_first=True)
        self.second = nn.MultiheadAttention(2, 1, batch_first=True)
        with torch.no_grad():
            for layer in (self.first, self.second):
                assert layer.in_proj_weight is not None
                layer.in_proj_weight.zero_()

    def tokens(self, shape: Sequence[int]) -> Tensor:
        return torch.arange(shape[0])[:, None].expand(*shape)

    def forward(self, inputs: Tensor) -> Tensor:
        first = inputs + self.first(inputs, inputs, inputs, need_weights=False)[0]
        attended: Tensor = self.second(first, first, first, need_weights=False)[0]
        return attended.mean(dim=1)


def test_rollout_by_hand() -> None:
    # Both layers: (1/2 1/2; 1/2 1/2) mixed with the identity = (3/4 1/4; 1/4 3/4); the product is (5/8 3/8; 3/8 5/8).
    model, inputs = TwoTokens(), torch.randn(1, 2, 2)
    whole = AttentionRollout(model, ["first", "second"]).attribute(inputs)
    torch.testing.assert_close(whole, torch.full((1, 2, 2), 0.5))
    one = AttentionRollout(model, ["first", "second"], query=0).attribute(inputs)
    torch.testing.assert_close(one[0, :, 0], torch.tensor([5 / 8, 3 / 8]))


def test_rollout_sums_to_one_over_tokens() -> None:
    names = ["encoder.layers.0.self_attn", "encoder.layers.1.self_attn"]
    relevance = AttentionRollout(Attention(), names).attribute(torch.randn(3, 5, 8))
    torch.testing.assert_close(relevance[:, :, 0].sum(dim=1), torch.ones(3))


class Silent(nn.Module):
    """Says nothing of its tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        attended: Tensor = self.attention(inputs, inputs, inputs)[0].mean(dim=1)
        return attended


class Wrong(Silent):
    def tokens(self, shape: Sequence[int]) -> Tensor:
        return torch.arange(shape[0] * shape[1]).reshape(*shape)


def test_rollout_needs_attention_and_a_model_that_says_what_its_tokens_stand_for() -> None:
    with pytest.raises(TypeError, match=r"'head' is no nn\.MultiheadAttention"):
        AttentionRollout(Attention(), ["head"])
    with pytest.raises(TypeError, match=r"Silent does not say .*; give it a method tokens\(shape\)") as raised:
        AttentionRollout(Silent(), ["attention"])
    assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match=r"Wrong.tokens gives numbers 0 to 39 in shape \(5, 8\) for 5 tokens"):
        AttentionRollout(Wrong(), ["attention"]).attribute(torch.randn(3, 5, 8))
    with pytest.raises(ValueError, match="name at least one"):
        AttentionRollout(Attention(), [])


class ClassToken(Attention):
    """A token in front that no value of the input has, and a last step that no token stands for."""

    def tokens(self, shape: Sequence[int]) -> Tensor:
        steps = torch.arange(1, shape[0] + 1)
        steps[-1] = -1
        return steps[:, None].expand(*shape)

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(torch.cat([torch.zeros_like(inputs[:, :1]), inputs[:, :-1]], dim=1))


def test_a_class_token_and_values_without_a_token_have_no_place_of_their_own() -> None:
    names = ["encoder.layers.0.self_attn", "encoder.layers.1.self_attn"]
    model, inputs = ClassToken(), torch.randn(2, 5, 8)
    relevance = AttentionRollout(model, names, query=0).attribute(inputs)
    assert not relevance[:, -1].any()
    assert bool((relevance[:, :-1] > 0).all())
    # What is missing is what the class token keeps for itself.
    assert bool((relevance[:, :, 0].sum(dim=1) < 1).all())


SHAPES = [(1, 8, 8), (1, 8, 32), (3, 32, 8), (2, 12, 4), (2, 32), (6, 64), (1, 16)]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_transformer_says_which_patch_a_value_lies_in(shape: tuple[int, ...]) -> None:
    model = Transformer(shape, 3, width=8, depth=1, heads=2).eval()
    places = model.tokens(shape)
    assert places.shape == shape
    assert places.unique().tolist() == list(range(model.places.shape[1]))
    # The patches themselves, before they are mixed: a value that changes moves the token that it is said to lie in.
    inputs = torch.randn(1, *shape)
    with torch.no_grad():
        before = model.patches(inputs).flatten(2)
        for value in range(0, inputs[0].numel(), 7):
            changed = inputs.clone()
            changed.view(-1)[value] += 1.0
            moved = (model.patches(changed).flatten(2) != before).any(dim=1)[0].nonzero().flatten()
            assert moved.tolist() == [int(places.flatten()[value])]


@pytest.mark.parametrize("shape", SHAPES)
def test_rollout_finds_the_patch_that_attention_looks_at(shape: tuple[int, ...]) -> None:
    # One patch is bright; keys are the tokens' brightness, so that every query looks there.
    model = Transformer(shape, 2, width=8, depth=1, heads=1).eval()
    block = model.blocks[0]
    assert isinstance(block, _EncoderBlock)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.patches.weight[0] = 1.0
        block.norm1.weight.fill_(1.0)
        assert block.attention.in_proj_weight is not None
        assert block.attention.in_proj_bias is not None
        # Queries are constant, keys the first channel.
        block.attention.in_proj_bias[0] = 20.0
        block.attention.in_proj_weight[8, 0] = 1.0
    places = model.tokens(shape)
    for token in (0, 1, int(places.max())):
        inputs = (places == token).float()[None]
        relevance = AttentionRollout(model, ["blocks.0.attention"]).attribute(inputs)
        assert relevance.shape == inputs.shape
        best = relevance[0] == relevance.max()
        assert torch.equal(best, places == token)
