import pytest
import torch
from torch.nn import functional as F

from kdlab.models.temporal_conv_net import TemporalConvNet
from kdlab.signals.capture import capture


def test_has_the_published_size() -> None:
    # Table 1 of the paper gives 70 K for sequential MNIST: 8 blocks of 25 channels and kernels of 7 (its code). A
    # convolution has the direction and length of its filters, and a bias.
    def convolution(before: int, after: int) -> int:
        return before * after * 7 + after + after

    total = convolution(1, 25) + convolution(25, 25) + (25 + 25) + 14 * convolution(25, 25) + 25 * 10 + 10
    model = TemporalConvNet(10, channels=1)
    assert sum(weight.numel() for weight in model.parameters()) == total == 66_910
    assert round(total, -4) == 70_000


def test_no_step_sees_what_comes_after_it() -> None:
    model = TemporalConvNet(3, channels=2, width=4, blocks=3, kernel=3).eval()
    series = torch.randn(2, 2, 24)
    changed = series.clone()
    changed[:, :, 15:] += 1
    with capture(model, ["blocks"]) as before:
        model(series)
    with capture(model, ["blocks"]) as after:
        model(changed)
    assert torch.equal(before["blocks"][:, :, :15], after["blocks"][:, :, :15])
    assert not torch.isclose(before["blocks"][:, :, 15], after["blocks"][:, :, 15]).all()


@pytest.mark.parametrize(("blocks", "kernel"), [(1, 2), (3, 3), (2, 5)])
def test_the_last_step_sees_as_far_back_as_reach_says(blocks: int, kernel: int) -> None:
    model = TemporalConvNet(3, channels=1, width=16, blocks=blocks, kernel=kernel).eval()
    series = torch.randn(8, 1, model.reach + 5, requires_grad=True)
    model(series).square().sum().backward()
    assert series.grad is not None
    seen = series.grad.abs().sum(dim=(0, 1)).nonzero().flatten()
    assert series.shape[2] - int(seen[0]) == model.reach


def test_filters_start_as_drawn_and_their_direction_has_no_length() -> None:
    convolution = TemporalConvNet(3, channels=2, width=4, blocks=2, kernel=3).blocks[1].conv1
    inputs = torch.randn(2, 4, 9)
    plain = F.conv1d(F.pad(inputs, (4, 0)), convolution.weight, convolution.bias, dilation=2)
    torch.testing.assert_close(convolution(inputs), plain)
    with torch.no_grad():
        convolution.weight.mul_(7)
    torch.testing.assert_close(convolution(inputs), plain)
    with torch.no_grad():
        convolution.scale.mul_(3)
        convolution.bias.zero_()
    torch.testing.assert_close(
        convolution(inputs), 3 * F.conv1d(F.pad(inputs, (4, 0)), convolution.weight / 7, dilation=2)
    )


def test_layers_have_the_names_of_the_docstring() -> None:
    names = {name for name, _ in TemporalConvNet(3, channels=2, width=4, blocks=2).named_modules()}
    parts = {"conv1", "relu1", "dropout1", "conv2", "relu2", "dropout2", "shortcut", "relu"}
    assert {f"blocks.{number}.{part}" for number in range(2) for part in parts} | {"head"} <= names


@pytest.mark.parametrize("arguments", [{"kernel": 1}, {"blocks": 0}, {"dropout": 1.0}, {"width": 0}])
def test_refuses_wrong_sizes_in_one_line(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="sizes must be positive, the kernel at least 2 and dropout in") as raised:
        TemporalConvNet(5, 1, **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)
