import pytest
import torch
from torch import nn

from kdlab.explainers.grad_cam import GradCam
from kdlab.models.shuffle_net_v2 import ShuffleNetV2
from kdlab.signals.capture import capture


def size(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


# torchvision's documentation counts these for ImageNet: 1000 classes, and a first convolution of 3 x 3.
IMAGENET = {0.5: 1_366_792, 1.0: 2_278_604, 1.5: 3_503_624, 2.0: 7_393_996}


@pytest.mark.parametrize("width", IMAGENET)
def test_has_the_published_size_but_for_the_first_convolution(width: float) -> None:
    assert size(ShuffleNetV2(1000, channels=3, width=width)) == IMAGENET[width] - 24 * 3 * (9 - 1)


def test_has_the_size_of_the_distillation_literature_layer_by_layer() -> None:
    # A pointwise convolution from a to b with its norm is a * b + 2 * b, a depthwise one of a is 9 * a + 2 * a.
    def halving(before: int, half: int) -> int:
        return (11 * before + before * half + 2 * half) + (before * half + 2 * half) + 11 * half + (half + 2) * half

    def keeping(half: int) -> int:
        return 2 * (half + 2) * half + 11 * half

    stages = halving(24, 58) + 3 * keeping(58) + halving(116, 116) + 7 * keeping(116) + halving(232, 232)
    stages += 3 * keeping(232)
    total = (3 + 2) * 24 + stages + (464 + 2) * 1024 + 1024 * 100 + 100
    assert size(ShuffleNetV2(100, channels=3)) == total == 1_355_528
    assert f"{total / 1e6:.2f}" == "1.36"


def test_a_block_keeps_one_half_and_interleaves_it_with_the_other() -> None:
    block = ShuffleNetV2(5, channels=3, width=0.5).eval().stage1[1]
    maps = torch.randn(2, 48, 4, 4)
    with torch.no_grad():
        mixed = block(maps)
    assert torch.equal(mixed[:, 0::2], maps[:, :24])
    assert torch.equal(mixed[:, 1::2], block.branch(maps[:, 24:]))


def test_stages_halve_the_image_and_have_the_names_of_the_docstring() -> None:
    model = ShuffleNetV2(5, channels=1, width=0.5).eval()
    layers = ["stem", "stage1", "stage2", "stage3", "last", "stage2.7.branch.filter", "stage3.0.shortcut", "flatten"]
    with capture(model, layers) as captured:
        model(torch.randn(2, 1, 32, 32))
    shapes = [tuple(captured[layer].shape[1:]) for layer in layers]
    assert shapes[:5] == [(24, 32, 32), (48, 16, 16), (96, 8, 8), (192, 4, 4), (1024, 4, 4)]
    assert shapes[5:] == [(48, 8, 8), (96, 4, 4), (1024,)]


def test_its_last_maps_explain_the_logits() -> None:
    model, inputs = ShuffleNetV2(5, channels=3, width=0.5).eval(), torch.randn(2, 3, 16, 16)
    maps = GradCam(model, "last").attribute(inputs, torch.tensor([0, 4]))
    assert maps.shape == inputs.shape
    assert maps.isfinite().all()


@pytest.mark.parametrize("arguments", [{"width": 0.75}, {"channels": 0}, {"classes": 0}])
def test_refuses_wrong_sizes_in_one_line(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be (one of 0.5, 1, 1.5, 2|positive), got") as raised:
        ShuffleNetV2(**({"classes": 5, "channels": 3} | arguments))  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)
