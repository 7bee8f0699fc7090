from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Protocol

import pytest
import torch
from torch import nn

from kdlab.configuration import type_hints
from kdlab.configuration.calls import Call, as_json, built
from kdlab.configuration.document import Document
from kdlab.configuration.signatures import signature_of
from kdlab.configuration.type_check import check, check_class
from kdlab.errors import ConfigurationError

HERE = __name__
DOCUMENT = Document(Path("some.yaml"), {})
TOP = DOCUMENT.top


class Colour(Enum):
    RED = 1


class Explains(Protocol):
    strength: float

    def attribute(self, inputs: torch.Tensor) -> torch.Tensor: ...


class Gradient:
    def __init__(self, model, steps=3):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204  a user's class
        self.model, self.steps = model, steps

    def attribute(self, x):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        return x


class Base:
    def __init__(self, width: int, label: str = "a") -> None:
        self.width, self.label = width, label


class Derived(Base):
    def __init__(self, depth: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.depth = depth


class Named(Base):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(label="b", **kwargs)


@dataclass
class Part:
    loss: nn.Module
    weight: float = 1.0
    takes: dict[str, str] = field(default_factory=dict)
    explainer: Callable[[nn.Module], Explains] | None = None


class Strict(nn.Module):
    def __init__(self, positive: int) -> None:
        super().__init__()
        if positive <= 0:
            raise ValueError(f"positive must be positive,\n got {positive}")


def make_linear(inputs: int, outputs: int = 2) -> nn.Linear:
    return nn.Linear(inputs, outputs)


def refused(value: object, hint: object) -> str:
    with pytest.raises(ConfigurationError) as error:
        check(value, hint, TOP / "a" / "b")
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith("some.yaml: a.b")
    return text


def spec(name: str, **arguments: object) -> dict[str, object]:
    return {"class_path": name if "." in name else f"{HERE}.{name}", "init_args": arguments}


@pytest.mark.parametrize(
    ("value", "hint", "result"),
    [
        (1, float, 1.0),
        ([1, 2], tuple[int, ...], (1, 2)),
        ([1, 2], Sequence[int], [1, 2]),
        ("x", Path, Path("x")),
        ("RED", Colour, Colour.RED),
        (None, int | None, None),
        ("auto", int | Literal["auto"], "auto"),
        ({"a": 1}, Mapping[str, float], {"a": 1.0}),
        ({"a": [1, {"b": None}]}, Any, {"a": [1, {"b": None}]}),
        (0.1, float | torch.Tensor, 0.1),
    ],
)
def test_plain_values_become_what_the_type_says(value: object, hint: object, result: object) -> None:
    assert built(check(value, hint, TOP)) == result


@pytest.mark.parametrize(
    ("value", "hint", "said"),
    [
        ("x", float, "expected float, got 'x'"),
        (True, int, "expected int, got True"),
        (None, float, "expected float, got null"),
        (1.5, int, "expected int, got 1.5"),
        (7, str, "expected str, got 7"),
        ([1, "a"], list[int], "expected list[int], got [1, 'a']"),
        ("GREEN", Colour, "expected one of RED, got 'GREEN'"),
        ("c", Literal["a", "b"], "expected one of 'a', 'b', got 'c'"),
        ("x", int | None, "expected int or null, got 'x'"),
        (3, nn.Module, "expected Module, got 3; a class is written {class_path"),
        ({"clas_path": "x"}, nn.Module, "expected Module"),
        (None, nn.Module, "expected Module, got null"),
    ],
)
def test_what_is_not_of_its_type_is_refused(value: object, hint: object, said: str) -> None:
    assert said in refused(value, hint)


def test_a_class_is_built_with_its_arguments_and_defaults_are_filled_in() -> None:
    node = check(spec("torch.nn.Linear", in_features=2, out_features=3), nn.Module, TOP)
    assert isinstance(node.build(), nn.Linear)
    assert node.plain()["init_args"]["bias"] is True


def test_a_function_stands_for_what_it_returns() -> None:
    node = check(spec("make_linear", inputs=4), nn.Module, TOP)
    assert node.build().in_features == 4
    assert "'json.dumps' is not Module" in refused(spec("json.dumps"), nn.Module)


def test_a_class_has_one_name_however_it_is_written() -> None:
    long = check(spec("torch.nn.modules.linear.Linear", in_features=1, out_features=1), nn.Module, TOP)
    assert long.plain()["class_path"] == "torch.nn.Linear"


def test_arguments_go_through_kwargs_to_the_base() -> None:
    node = check(spec("Derived", width=2, depth=3), Base, TOP)
    derived = node.build()
    assert (derived.width, derived.depth, derived.label) == (2, 3, "a")
    assert check(spec("Named", width=2), Base, TOP).build().label == "b"
    assert "Derived has no argument 'widht' (did you mean 'width'?); it has width, label, depth" in refused(
        spec("Derived", widht=2), Base
    )
    assert "expected int, got 'x'" in refused(spec("Derived", width="x"), Base)
    with pytest.raises(ConfigurationError, match="Derived refuses its arguments"):
        check(spec("Derived"), Base, TOP).build()


def test_factories_take_the_first_argument_later_and_build_anew_each_time() -> None:
    optimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    node = check(spec("torch.optim.SGD", lr=0.5), optimizer, TOP)
    weights = [nn.Parameter(torch.zeros(1))]
    first, second = node.build()(weights), node.build()(weights)
    assert isinstance(first, torch.optim.SGD)
    assert first is not second
    assert first.defaults["lr"] == 0.5
    assert "is not a class that makes Optimizer" in refused(spec("torch.nn.ReLU"), optimizer)


def test_a_protocol_is_met_by_method_names_alone() -> None:
    hint = Callable[[nn.Module], Explains]
    model = nn.Linear(1, 1)
    gradient = check(spec("Gradient", steps=5), hint, TOP).build()(model)
    assert gradient.model is model
    assert gradient.steps == 5
    assert "is not a class that makes Explains" in refused(spec("Base", width=1), hint)


def test_a_class_name_alone_is_enough_without_arguments() -> None:
    assert isinstance(check("torch.nn.ReLU", nn.Module, TOP).build(), nn.ReLU)


def test_a_dataclass_needs_no_class_path() -> None:
    value = {"soft": {"loss": spec("torch.nn.MSELoss"), "explainer": spec("Gradient")}}
    node = check(value, dict[str, Part] | None, TOP / "a" / "b")
    part = built(node)["soft"]
    assert isinstance(part, Part)
    assert isinstance(part.loss, nn.MSELoss)
    assert part.takes == {}
    assert as_json(node)["soft"]["weight"] == 1.0
    assert "a.b.soft.wieght: Part has no argument 'wieght' (did you mean 'weight'?)" in refused(
        {"soft": {"loss": spec("torch.nn.MSELoss"), "wieght": 1}}, dict[str, Part]
    )
    assert "Part needs 'loss' (Module)" in refused({"soft": {}}, dict[str, Part])


def test_classes_in_lists_and_in_untyped_arguments_are_built() -> None:
    layers = built(check([spec("torch.nn.ReLU"), spec("torch.nn.Tanh")], list[nn.Module], TOP))
    assert [type(layer) for layer in layers] == [nn.ReLU, nn.Tanh]
    gradient = check(spec("Gradient", model=spec("torch.nn.ReLU")), Any, TOP).build()
    assert isinstance(gradient.model, nn.ReLU)


def test_keys_beside_class_path_are_refused() -> None:
    assert "unknown key 'init_arg' (did you mean 'init_args'?)" in refused(
        {"class_path": "torch.nn.ReLU", "init_arg": {}}, nn.Module
    )
    assert "expected the arguments of ReLU as a mapping" in refused(
        {"class_path": "torch.nn.ReLU", "init_args": [1]}, nn.Module
    )


def test_a_constructors_refusal_is_one_line_with_its_place() -> None:
    node = check_class(spec("Strict", positive=-1), [nn.Module], TOP / "a" / "b")
    with pytest.raises(ConfigurationError) as error:
        node.build()
    assert str(error.value) == "some.yaml: a.b: Strict refuses its arguments: positive must be positive, got -1"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("torch.nn.Linaer", "has no 'Linaer' (did you mean 'Linear'?)"),
        ("torch.nm.Linear", "no module 'torch.nm'"),
        ("nowhere.Net", "no module 'nowhere'"),
        ("torch.nn.functional", "neither a class nor a function"),
        ("kdlab.losses.soft_targets.SoftTargets", "did you mean 'kdlab.losses.logits.soft_targets.SoftTargets'?"),
        ("SoftTarget", "kdlab has no class 'SoftTarget' (did you mean 'SoftTargets'?); its losses are"),
        ("Zzz", "kdlab has no class 'Zzz'; `kdlab list` shows all"),
        ("a b.C", "is no class path"),
        (7, "class_path must be the name of a class, got 7"),
    ],
)
def test_a_class_that_is_not_there_is_refused_with_the_nearest(path: object, said: str) -> None:
    assert said in refused({"class_path": path}, nn.Module)


def test_signatures_fall_back_to_any_where_a_type_cannot_be_found() -> None:
    signature = signature_of(Gradient)
    assert signature.parameters["steps"].type is Any
    assert signature.parameters["steps"].default == 3
    assert signature_of(torch.optim.Adam).parameters["lr"].default == 1e-3


def test_types_are_said_as_readers_would() -> None:
    assert type_hints.described(Callable[[nn.Module], nn.Module] | None) == "a class that makes Module or null"
    assert type_hints.described(dict[str, list[int]]) == "dict[str, list[int]]"


def test_defaults_without_a_written_form_are_left_to_the_constructor() -> None:
    def function(size: int = 1, part: nn.Module = nn.ReLU()) -> nn.Module:
        return part

    call = Call(function, "x", {}, TOP)
    assert isinstance(call.build(), nn.ReLU)
