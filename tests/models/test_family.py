"""Every network keeps the family's promises for each kind of data that it takes; a new file is found by itself."""

import copy
import importlib.util
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kdlab.commands.class_kinds import classes_of_package
from kdlab.configuration.experiment import read
from kdlab.configuration.signatures import signature_of
from kdlab.data.description import Description
from kdlab.models.estimator import Estimator
from kdlab.models.hugging_face_text import HuggingFaceText
from kdlab.models.loaded_estimator import LoadedEstimator
from kdlab.models.soft_label_file import SoftLabelFile
from tests.configuration.examples import write
from tests.families import own_case

CLASSES, BATCH, VOCABULARY = 5, 6, 20
# One input of each kind of data, as a data module would describe it.
KINDS = {
    "table": Description(classes=CLASSES, shape=(7,)),
    "series": Description(classes=CLASSES, shape=(1, 32)),
    "text": Description(classes=CLASSES, shape=(9,), vocabulary=VOCABULARY),
    "images": Description(classes=CLASSES, shape=(3, 16, 16)),
    "grey images": Description(classes=CLASSES, shape=(1, 8, 8)),
}
# What no gradient trains.
UNTRAINED = {Estimator, LoadedEstimator, SoftLabelFile}
ABSENT = set() if importlib.util.find_spec("transformers") else {HuggingFaceText}
NETWORKS = {name: target for name, target in classes_of_package("models") if target not in UNTRAINED | ABSENT}
Build = Callable[[], nn.Module]


def build_of(target: type, data: Description) -> Build | None:
    """The network as the data size it: None where it asks for what they do not know."""
    if (case := own_case(target)) is not None:
        return case
    required = [parameter.name for parameter in signature_of(target).parameters.values() if parameter.required]
    handed = data.handed()
    if not set(required) <= handed.keys():
        return None
    return partial(target, **{name: handed[name] for name in required})


def inputs_of(data: Description, batch: int = BATCH) -> Tensor:
    """A batch: floating point numbers, or the token numbers of texts."""
    assert data.shape is not None
    if data.vocabulary is not None:
        return torch.randint(0, data.vocabulary, (batch, *data.shape))
    return torch.randn(batch, *data.shape)


def takes(build: Build, data: Description) -> bool:
    try:
        build()(inputs_of(data))
    except (ValueError, RuntimeError):  # what a network and torch say of a wrong shape
        return False
    return True


def cases() -> Iterator[tuple[str, str]]:
    for name, target in NETWORKS.items():
        for kind, data in KINDS.items():
            build = build_of(target, data)
            if build is not None and takes(build, data):
                yield name, kind
                if kind == "images":
                    break  # grey ones are for those that take no others by default


TAKEN = list(cases())


@pytest.fixture(params=TAKEN, ids=lambda case: f"{case[0]} of {case[1]}")
def case(request: pytest.FixtureRequest) -> tuple[Build, Tensor]:
    name, kind = request.param
    build = build_of(NETWORKS[name], KINDS[kind])
    assert build is not None
    return build, inputs_of(KINDS[kind])


def test_every_network_takes_some_kind_of_data_without_being_told_its_sizes() -> None:
    assert {name for name, _ in TAKEN} == set(NETWORKS), "its test file holds CASE, which takes one of KINDS"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("table", {"MLP", "ResidualMLP"}),
        ("series", {"MLP", "ResidualMLP", "ConvNet1d", "ResNet1D", "TemporalConvNet", "Transformer"}),
        ("images", {"MLP", "ResNet", "WideResNet", "VGG", "MobileNetV2", "ShuffleNetV2", "Transformer"}),
        ("grey images", {"ConvNet"}),
        ("text", {"BagOfEmbeddings"}),
    ],
)
def test_the_networks_of_a_kind_are_found(kind: str, names: set[str]) -> None:
    assert names <= {name for name, found in TAKEN if found == kind}


def test_gives_logits_and_a_gradient_to_every_weight(case: tuple[Build, Tensor]) -> None:
    build, inputs = case
    model = build()
    logits = model(inputs)
    assert logits.shape == (BATCH, CLASSES)
    assert logits.dtype == torch.float32
    nn.functional.cross_entropy(logits, torch.arange(BATCH) % CLASSES).backward()
    without = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    # The keys' bias shifts all attention scores alike: softmax gives it none.
    assert [name for name in without if not name.endswith("attention.in_proj_bias")] == []


def test_each_activation_runs_once_and_not_in_place(case: tuple[Build, Tensor]) -> None:
    build, inputs = case
    model, ran = build(), []
    activations = [module for module in model.modules() if isinstance(module, nn.ReLU | nn.GELU)]
    for module in activations:
        module.register_forward_hook(lambda module, *_: ran.append(module))
    model(inputs)
    assert sorted(map(id, ran)) == sorted(map(id, activations))
    assert not any(getattr(module, "inplace", False) for module in activations)


def test_a_sample_in_eval_mode_does_not_depend_on_its_batch(case: tuple[Build, Tensor]) -> None:
    build, inputs = case
    model, before = build().eval(), inputs.clone()
    torch.testing.assert_close(model(inputs)[2:3], model(inputs[2:3]), atol=1e-5, rtol=1e-5)
    assert torch.equal(inputs, before)


def test_equal_seeds_give_equal_weights_and_logits(case: tuple[Build, Tensor]) -> None:
    build, inputs = case
    states, logits = [], []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        model = build()
        states.append(model.state_dict())
        logits.append(model.eval()(inputs))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])


def test_a_copy_pickle_and_loaded_state_answer_alike(case: tuple[Build, Tensor]) -> None:
    build, inputs = case
    model, other = build().eval(), build().eval()
    other.load_state_dict(model.state_dict())
    for same in (other, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(same(inputs), model(inputs))


def test_a_few_steps_lower_the_loss(case: tuple[Build, Tensor]) -> None:
    build, inputs = case
    model, target = build(), torch.arange(BATCH) % CLASSES
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    losses = []
    for _ in range(6):
        loss = nn.functional.cross_entropy(model(inputs), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_refuses_sizes_of_nothing_in_one_line(name: str) -> None:
    kind = next(kind for found, kind in TAKEN if found == name)
    build = build_of(NETWORKS[name], KINDS[kind])
    assert isinstance(build, partial), "a class with CASE refuses its arguments in its own test"
    for size in (size for size, value in build.keywords.items() if isinstance(value, int)):
        with pytest.raises(ValueError, match=r"must (be|divide)") as raised:
            build(**{size: 0})
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("name", "kind"), TAKEN)
def test_its_class_path_is_all_that_an_experiment_must_say(name: str, kind: str, tmp_path: Path) -> None:
    model = "{class_path: MLP, init_args: {inputs: 64, classes: 10, hidden: [16]}}"
    experiment = read(write(tmp_path, (model, f"{{class_path: {name}}}"))).with_names(KINDS[kind].handed())
    assert experiment.build_model("student")(inputs_of(KINDS[kind])).shape == (BATCH, CLASSES)
