from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from kdlab.explainers.class_activation_map import ClassActivationMap
from kdlab.explainers.grad_cam import GradCam
from kdlab.losses.explanations.class_activation_transfer import ClassActivationTransfer
from kdlab.models.conv_net import ConvNet
from kdlab.models.conv_net_1d import ConvNet1d
from kdlab.models.mlp import MLP
from kdlab.models.mobile_net_v2 import MobileNetV2
from kdlab.models.res_net import ResNet
from kdlab.models.transformer import Transformer
from kdlab.models.vgg import VGG
from kdlab.models.wide_res_net import WideResNet
from kdlab.signals.capture import capture

MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: MLP(64, 5, hidden=[16, 8], dropout=0.1), (1, 8, 8)),
    "linear": (lambda: MLP(30, 5, hidden=[]), (30,)),
    "conv_net": (lambda: ConvNet(5, width=4), (1, 8, 8)),
    "conv_net, colour": (lambda: ConvNet(5, channels=3, width=4, blocks=3), (3, 17, 11)),
    "conv_net, class maps": (lambda: ConvNet(5, width=4, class_maps=True), (1, 8, 8)),
    "conv_net_1d": (lambda: ConvNet1d(5, channels=2, width=4), (2, 40)),
    "res_net": (lambda: ResNet(5, depth=8, width=4), (3, 16, 16)),
    "wide_res_net": (lambda: WideResNet(5, depth=10, factor=1), (3, 16, 16)),
    "vgg": (lambda: VGG(5, depth=8, width=8), (3, 16, 16)),
    "mobile_net_v2": (lambda: MobileNetV2(5, width=0.25), (3, 32, 32)),
    "transformer of images": (lambda: Transformer((3, 8, 8), 5, width=16, depth=2, dropout=0.1), (3, 8, 8)),
    "transformer of series": (lambda: Transformer((2, 32), 5, patch=8, width=16, depth=2), (2, 32)),
}


@pytest.fixture(params=MODELS)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    make, shape = MODELS[request.param]
    return make(), torch.randn(6, *shape)


def test_gives_logits_and_a_gradient_to_every_weight(case: tuple[nn.Module, Tensor]) -> None:
    model, inputs = case
    logits = model(inputs)
    assert logits.shape == (6, 5)
    nn.functional.cross_entropy(logits, torch.arange(6) % 5).backward()
    without = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    # The keys' bias shifts all attention scores alike: softmax gives it none.
    assert [name for name in without if not name.endswith("attention.in_proj_bias")] == []


# How many activations each net has.
ACTIVATIONS = {"mlp": 2, "linear": 0, "conv_net": 2, "conv_net, colour": 3, "conv_net, class maps": 2}
ACTIVATIONS |= {"wide_res_net": 7, "vgg": 5, "mobile_net_v2": 36}
ACTIVATIONS |= {"conv_net_1d": 3, "res_net": 7, "transformer of images": 2, "transformer of series": 2}


@pytest.mark.parametrize("name", MODELS)
def test_each_activation_runs_once_and_not_in_place(name: str) -> None:
    make, shape = MODELS[name]
    model, ran = make(), []
    activations = [module for module in model.modules() if isinstance(module, nn.ReLU | nn.GELU)]
    for module in activations:
        module.register_forward_hook(lambda module, *_: ran.append(module))
    model(torch.randn(6, *shape))
    assert len(activations) == ACTIVATIONS[name]
    assert sorted(map(id, ran)) == sorted(map(id, activations))
    assert not any(getattr(module, "inplace", False) for module in activations)


def test_a_sample_in_eval_mode_does_not_depend_on_its_batch(case: tuple[nn.Module, Tensor]) -> None:
    model, inputs = case
    model.eval()
    torch.testing.assert_close(model(inputs)[2:3], model(inputs[2:3]), atol=1e-5, rtol=1e-5)


def test_learns_a_batch_by_heart(case: tuple[nn.Module, Tensor]) -> None:
    model, inputs = case
    target = torch.arange(6) % 5
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), target).backward()
        optimizer.step()
    model.eval()
    # Small batches leave the running statistics behind, so the training mode is asked.
    assert (model.train()(inputs).argmax(1) == target).float().mean() >= 0.8


def test_equal_seeds_give_equal_weights() -> None:
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(ResNet(3, depth=8, width=4))
    pairs = zip(models[0].parameters(), models[1].parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_layers_have_the_names_that_the_docstrings_give() -> None:
    names = {name for name, _ in MLP(4, 2, hidden=[3, 3], dropout=0.5).named_modules()}
    assert {"flatten", "linear1", "relu1", "dropout1", "linear2", "relu2", "head"} <= names
    names = {name for name, _ in ConvNet(2, blocks=2).named_modules()}
    assert {"block1.conv", "block1.norm", "block1.relu", "pool1", "block2", "average", "flatten", "head"} <= names
    names = {name for name, _ in ResNet(2, depth=14, width=2).named_modules()}
    assert {"stem", "layer1.0.relu1", "layer1.1.relu2", "layer2.0.shortcut.conv", "layer3", "average", "head"} <= names
    names = {name for name, _ in Transformer((1, 8, 8), 2, width=8, depth=2).named_modules()}
    assert {"patches", "blocks.0.attention", "blocks.1.mixing", "norm", "head"} <= names


def test_class_maps_average_to_the_logits_of_the_same_weights() -> None:
    nets = []
    for class_maps in (False, True):
        torch.manual_seed(3)
        nets.append(ConvNet(5, width=4, class_maps=class_maps).eval())
    plain, mapped = nets
    assert torch.equal(mapped.get_parameter("class_maps.weight").flatten(1), plain.get_parameter("head.weight"))
    inputs = torch.randn(3, 1, 8, 8)
    with capture(mapped, ["class_maps"]) as captured:
        logits = mapped(inputs)
    assert captured["class_maps"].shape == (3, 5, 4, 4)
    torch.testing.assert_close(captured["class_maps"].mean(dim=(2, 3)), logits)
    torch.testing.assert_close(logits, plain(inputs))


def test_class_activation_transfer_trains_a_student_with_class_maps() -> None:
    student, teacher = ConvNet(5, width=2, class_maps=True), ConvNet(5, width=6, blocks=3, class_maps=True).eval()
    inputs, loss = torch.randn(8, 1, 16, 16), ClassActivationTransfer()
    optimizer = torch.optim.Adam(student.parameters(), lr=0.01)
    values = []
    for _ in range(40):
        with capture(student, ["class_maps"]) as ours, capture(teacher, ["class_maps"]) as theirs:
            student(inputs)
            with torch.no_grad():
                teacher(inputs)
        value = loss(ours.ordered(["class_maps"]), theirs.ordered(["class_maps"]))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.5 * values[0]


def test_resnet_has_the_published_size() -> None:
    # He et al. 2016, table 6: 0.27 M weights for 20 layers, with shortcuts without weights (option A); ours have
    # 16 * 32 + 2 * 32 and 32 * 64 + 2 * 64 in their place.
    assert sum(weight.numel() for weight in ResNet(10).parameters()) == 269_722 + 576 + 2_176


@pytest.mark.parametrize(
    ("model", "millions"),
    [
        (lambda: WideResNet(100, depth=40, factor=2), "2.26"),
        (lambda: WideResNet(100, depth=40, factor=1), "0.57"),
        (lambda: WideResNet(100, depth=16, factor=2), "0.70"),
        (lambda: VGG(100, depth=8), "3.97"),
        (lambda: VGG(100, depth=13), "9.46"),
        (lambda: MobileNetV2(100, width=0.5), "0.81"),
    ],
)
def test_nets_of_the_distillation_literature_have_their_size(model: Callable[[], nn.Module], millions: str) -> None:
    assert f"{sum(weight.numel() for weight in model().parameters()) / 1e6:.2f}" == millions


def test_vgg_8_has_the_size_counted_by_hand() -> None:
    convolutions = 9 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 512)
    biases_and_norms = 3 * (64 + 128 + 256 + 512 + 512)
    total = sum(weight.numel() for weight in VGG(100, depth=8).parameters())
    assert total == convolutions + biases_and_norms + 512 * 100 + 100


@pytest.mark.parametrize("make", [lambda: WideResNet(5, depth=10, factor=1), lambda: VGG(5, depth=8, width=8)])
def test_the_last_maps_before_the_average_explain_the_logits(make: Callable[[], nn.Module]) -> None:
    model, inputs = make().eval(), torch.randn(3, 3, 16, 16)
    layer = "relu" if isinstance(model, WideResNet) else "block5.relu1"
    maps = ClassActivationMap(model, layer, "head").attribute(inputs, torch.tensor([0, 1, 4]))
    gradients = GradCam(model, layer).attribute(inputs, torch.tensor([0, 1, 4]))
    assert maps.shape == gradients.shape == inputs.shape
    assert maps.isfinite().all()
    assert gradients.isfinite().all()
    assert maps.any()


@pytest.mark.parametrize(
    "make",
    [
        lambda: MLP(0, 2),
        lambda: MLP(4, 2, hidden=[0]),
        lambda: MLP(4, 2, dropout=1.0),
        lambda: ConvNet(0),
        lambda: ConvNet(2, blocks=0),
        lambda: ConvNet1d(2, kernel=4),
        lambda: ResNet(2, depth=18),
        lambda: ResNet(2, width=0),
        lambda: WideResNet(2, depth=20),
        lambda: WideResNet(2, factor=0),
        lambda: WideResNet(2, dropout=1.0),
        lambda: VGG(2, depth=9),
        lambda: MobileNetV2(2, width=0.05),
        lambda: VGG(2, width=0),
        lambda: Transformer((8,), 2),
        lambda: Transformer((1, 9, 9), 2),
        lambda: Transformer((1, 8, 8), 2, width=10),
    ],
)
def test_refuses_wrong_sizes_in_one_line(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(ValueError, match=r"must (be|divide)") as raised:
        make()
    assert "\n" not in str(raised.value)
