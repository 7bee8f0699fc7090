"""Names of classes and features: from the data to who asks for them, past every fingerprint."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kdlab.configuration.experiment import ConfigurationError, read
from kdlab.data.breast_cancer import BreastCancer
from kdlab.data.description import Description
from kdlab.data.table import Table
from tests.configuration.examples import write
from tests.data.made_up import write_mixed

NAMED = '''
from collections.abc import Sequence

from torch import Tensor, nn


class Asking(nn.Module):
    """A net that asks for names, one of them without a default."""

    def __init__(self, class_names: list[str], width: int = 4, feature_names: list[str] | None = None):
        super().__init__()
        self.class_names, self.feature_names = class_names, feature_names
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, 10))


class Passing(Asking):
    def __init__(self, **kwargs):
        super().__init__(width=3, **kwargs)


class Sized(nn.Module):
    """A net that asks for sizes; what its own default or another type says is not the data's affair."""

    def __init__(self, inputs: int, classes, shape: Sequence[int] | None = None, length: int = 3, channels: Tensor = 0):
        super().__init__()
        self.told = (inputs, classes, shape, length, channels)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes))


class Decided(Asking):
    def __init__(self, class_names: tuple[str, ...] = ("a", "b")):
        super().__init__(list(class_names))
'''
MODEL = "MLP, init_args: {inputs: 64, classes: 10, hidden: [16]}"
NAMES = {"class_names": ["cat", "dog"], "feature_names": ["size", "age"]}


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Path]:
    path = list(sys.path)
    (tmp_path / "own_names.py").write_text(NAMED)
    importlib.invalidate_caches()
    yield tmp_path
    sys.path[:] = path
    sys.modules.pop("own_names", None)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("own_names.Asking, init_args: {}", (["cat", "dog"], ["size", "age"])),
        ("own_names.Asking, init_args: {feature_names: null}", (["cat", "dog"], ["size", "age"])),
        ("own_names.Asking, init_args: {class_names: [x, y]}", (["x", "y"], ["size", "age"])),
        ("own_names.Passing, init_args: {}", (["cat", "dog"], ["size", "age"])),
        ("own_names.Decided, init_args: {}", (["a", "b"], None)),
    ],
)
def test_names_of_the_data_go_to_who_asks_for_them_and_was_given_none(
    asking: Path, model: str, expected: tuple[list[str], list[str] | None]
) -> None:
    file = write(asking, (MODEL, model))
    experiment = read(file)
    named = experiment.with_names(NAMES)
    network = named.build_model("student")
    assert (network.class_names, network.feature_names) == expected
    asked = {"seed": 0, "needs": {"teacher": "a"}, "data": "content"}
    assert named.fingerprints().stage("student", **asked) == experiment.fingerprints().stage("student", **asked)
    assert named.resolved == experiment.resolved
    # What a change writes out in full is asked for all the same.
    again = read(file, ["student.alpha=0.3"]).with_names(NAMES).build_model("student")
    assert (again.class_names, again.feature_names) == expected


def test_without_names_a_default_stays_and_a_missing_argument_is_said(asking: Path) -> None:
    file = write(asking, (MODEL, "own_names.Asking, init_args: {class_names: [x, y]}"))
    assert read(file).with_names({}).build_model("student").feature_names is None
    file = write(asking, (MODEL, "own_names.Asking, init_args: {}"))
    with pytest.raises(ConfigurationError, match="Asking needs class_names, which the data do not say of them"):
        read(file).build_model("student")


def test_sizes_of_the_data_go_to_who_asks_for_them_and_was_given_none(asking: Path) -> None:
    file = write(asking, (MODEL, "own_names.Sized, init_args: {}"))
    sizes = Description(classes=10, shape=(1, 8, 8)).handed()
    assert read(file).with_names(sizes).build_model("student").told == (64, 10, (1, 8, 8), 3, 0)
    with pytest.raises(ConfigurationError, match="Sized needs inputs, classes, which the data do not say of them"):
        read(file).with_names({}).build_model("student")
    file = write(asking, (MODEL, "own_names.Sized, init_args: {inputs: 7, length: 5}"))
    assert read(file).with_names(sizes).build_model("student").told == (7, 10, (1, 8, 8), 5, 0)


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((5,), {"inputs": 5, "length": 5}),
        ((2, 9), {"inputs": 18, "channels": 2, "length": 9}),
        ((3, 4, 6), {"inputs": 72, "channels": 3}),
    ],
)
def test_what_is_counted_of_an_input_follows_from_its_kind(shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    handed = Description(classes=4, shape=shape).handed()
    assert handed == {"classes": 4, "shape": shape, **sizes}


def test_a_size_of_another_type_is_needed_from_the_file(asking: Path) -> None:
    (asking / "own_sizes.py").write_text(
        "from torch import Tensor, nn\n\n\nclass Weighted(nn.Module):\n"
        "    def __init__(self, inputs: Tensor):\n        super().__init__()\n"
    )
    importlib.invalidate_caches()
    with pytest.raises(ConfigurationError, match="Weighted needs 'inputs'"):
        read(write(asking, (MODEL, "own_sizes.Weighted, init_args: {}")))


def test_names_reach_explainers_deep_inside_and_those_of_the_evaluation(tmp_path: Path) -> None:
    surrogate = "{class_path: NeuralSurrogate, init_args: {inputs: 64, classes: 10}}"
    tree = "{class_path: RuleTree, init_args: {inputs: 64, classes: 2}}"
    names = {"class_names": ["cat", "dog"], "feature_names": [f"pixel {number}" for number in range(64)]}
    experiment = read(write(tmp_path, (surrogate, tree))).with_names(names)
    module = experiment.build_module("joint", experiment.build_model("joint"), None)
    assert module.explainer.class_names == ["cat", "dog"]
    assert [module.explainer.reading.name(number) for number in range(64)] == names["feature_names"]


def test_the_levels_of_a_category_play_together_without_being_numbered_in_the_file(tmp_path: Path) -> None:
    table = Table(str(write_mixed(tmp_path / "credit.csv")), target="class")
    surrogate = "{class_path: NeuralSurrogate, init_args: {inputs: 64, classes: 10}}"
    shapley = "{class_path: AmortisedShapley, init_args: {shape: [7], classes: 2, players: {class_path: Groups}}}"
    experiment = read(write(tmp_path, (surrogate, shapley), ("inputs: 64", "inputs: 7"), ("classes: 10", "classes: 2")))
    named = experiment.with_names(table.description.handed())
    module = named.build_module("joint", named.build_model("joint"), None)
    assert module.explainer.assignment.tolist() == [0, 1, 2, 2, 2, 3, 3]


def test_the_shipped_rules_are_in_the_columns_own_units() -> None:
    cancer = BreastCancer()
    cancer.setup()
    experiment = read(Path(__file__).parents[1] / "experiments" / "breast_cancer.yaml")
    named = experiment.with_names(cancer.description.handed())
    module = named.build_module("joint", named.build_model("joint"), None)
    inputs = cancer.splits["train"]["inputs"]
    # As the shipped tree learns it, from the labels in place of a student.
    module.explainer.learn(inputs, torch.nn.functional.one_hot(cancer.splits["train"]["target"], 2).double())
    first = module.explainer.text().splitlines()[0]
    name, bound = first.removeprefix("if ").removesuffix(":").split(" <= ")
    column = cancer.feature_names.index(name) if cancer.feature_names else -1
    values = cancer.preparation.undone(inputs)[:, column]
    below = inputs[:, column].double() <= float(module.explainer.threshold[0])
    assert 0.2 < float(below.double().mean()) < 0.8
    assert torch.equal(values <= float(bound), below)
    asked = {"seed": 0, "needs": {"teacher": "a"}, "data": "content"}
    assert named.fingerprints().stage("joint", **asked) == experiment.fingerprints().stage("joint", **asked)
