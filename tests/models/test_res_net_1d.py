import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdlab.explainers.class_activation_map import ClassActivationMap
from kdlab.models.res_net_1d import ResNet1D
from kdlab.signals.capture import capture


def test_has_the_size_counted_by_hand() -> None:
    def block(before: int, after: int) -> int:
        convolutions = before * after * 8 + after * after * 5 + after * after * 3 + 3 * after
        shortcut = 0 if before == after else before * after + after
        return convolutions + shortcut + 4 * 2 * after  # with three norms, and one in the shortcut

    total = block(1, 64) + block(64, 128) + block(128, 128)
    assert total == 504_000
    model = ResNet1D(7, channels=1)
    assert sum(weight.numel() for weight in model.parameters()) == total + 128 * 7 + 7


def test_a_block_is_the_papers_own_formula() -> None:
    model = ResNet1D(3, channels=2, width=4).eval()
    block, series = model.block1, torch.randn(2, 2, 20)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm1d)):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    maps = series
    for number, kernel in enumerate((8, 5, 3), start=1):
        convolution = block.get_submodule(f"conv{number}.conv")
        padded = F.pad(maps, ((kernel - 1) // 2, kernel // 2))
        maps = block.get_submodule(f"norm{number}")(F.conv1d(padded, convolution.weight, convolution.bias))
        maps = maps.relu() if number < 3 else maps
    maps = (maps + block.shortcut.norm(block.shortcut.conv(series))).relu()
    torch.testing.assert_close(block(series), maps)


@pytest.mark.parametrize("length", [1, 5, 33])
def test_maps_have_the_series_length_and_the_names_of_the_docstring(length: int) -> None:
    model = ResNet1D(3, channels=2, width=4).eval()
    layers = ["block1", "block2", "block3", "block1.relu2", "block3.shortcut.norm", "block2.norm3", "flatten"]
    with capture(model, layers) as captured:
        model(torch.randn(2, 2, length))
    assert [tuple(captured[layer].shape[1:]) for layer in layers[:3]] == [(4, length), (8, length), (8, length)]


def test_its_last_maps_explain_the_logits() -> None:
    model, inputs = ResNet1D(3, channels=2, width=4).eval(), torch.randn(2, 2, 20)
    maps = ClassActivationMap(model, "block3", "head").attribute(inputs, torch.tensor([0, 2]))
    assert maps.shape == inputs.shape
    assert maps.any()
