"""Named places of a model, seen inside a with block and left alone outside."""

import pytest
import torch
from torch import Tensor, nn

from kdlab.signals.capture import capture
from kdlab.testing.explained import Attention, Recurrent, conv


def hooks_of(model: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules())


class Twice(nn.Module):
    """Runs one block twice."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Linear(4, 4)
        self.unused = nn.Linear(4, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.tanh(self.block(torch.tanh(self.block(inputs))))


def test_gives_outputs_and_inputs_in_the_order_asked() -> None:
    model, inputs = conv().eval(), torch.randn(3, 2, 8, 8)
    with capture(model, ["3", "0", "7:input"]) as captured:
        logits = model(inputs)
    third, first, pooled = captured.ordered(["3", "0", "7:input"])
    torch.testing.assert_close(first, model[0](inputs))
    torch.testing.assert_close(third, model[:4](inputs))
    torch.testing.assert_close(model[7](pooled), logits)
    assert captured["0"] is first


def test_takes_the_first_tensor_of_a_tuple_and_inputs_passed_by_name() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            return torch.sin(self.inner(input=inputs))

    inputs, model = torch.randn(2, 3), Named()
    with capture(model, ["inner:input"]) as captured:
        model(inputs)
    assert captured["inner:input"] is inputs
    recurrent = Recurrent()
    with capture(recurrent, ["lstm"]) as captured:
        recurrent(torch.randn(2, 5, 8))
    assert captured["lstm"].shape == (2, 5, 6)


def test_follows_the_grad_mode() -> None:
    model, inputs = conv(), torch.randn(2, 2, 8, 8)
    with capture(model, ["3"]) as captured:
        model(inputs)
    assert captured["3"].requires_grad
    with torch.no_grad(), capture(model, ["3"]) as captured:
        model(inputs)
    assert not captured["3"].requires_grad


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_gives_attention_weights_a_head_without_changing_the_result(training: bool, mode: type) -> None:
    model, inputs = Attention(), torch.randn(2, 5, 8)
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if isinstance(part, nn.MultiheadAttention):
            part.dropout = 0.0
    model.train(training)
    name = "encoder.layers.1.self_attn:weights"
    with mode():
        wanted = model(inputs)
        with capture(model, [name]) as captured:
            logits = model(inputs)
        assert captured[name].shape == (2, 2, 5, 5)
        torch.testing.assert_close(captured[name].sum(dim=-1), torch.ones(2, 2, 5))
        torch.testing.assert_close(logits, wanted)


def test_attention_gives_its_caller_what_the_caller_asked_for() -> None:
    class Asks(nn.Module):
        def __init__(self, *arguments: bool | None, **named: bool) -> None:
            super().__init__()
            self.attention, self.arguments, self.named = nn.MultiheadAttention(4, 2, batch_first=True), arguments, named

        def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
            attended, weights = self.attention(inputs, inputs, inputs, *self.arguments, **self.named)
            return attended, weights

    inputs = torch.randn(2, 3, 4)
    models = [Asks(), Asks(need_weights=False), Asks(None, False), Asks(None, True, None, False)]
    assert [model(inputs)[1] is None for model in models] == [False, True, True, False]
    for model in models:
        attended, weights = model(inputs)
        with capture(model, ["attention:weights"]) as captured:
            same_attended, same_weights = model(inputs)
        torch.testing.assert_close(same_attended, attended)
        assert (same_weights is None) == (weights is None)
        if weights is not None:
            torch.testing.assert_close(same_weights, weights)
        assert captured["attention:weights"].shape == (2, 2, 3, 3)


def test_an_unknown_path_names_the_nearest_and_what_there_is() -> None:
    with (
        pytest.raises(KeyError, match=r"no layer 'blok' in Twice; nearest is 'block'; it has .*unused"),
        capture(Twice(), ["blok"]),
    ):
        pass


@pytest.mark.parametrize("name", ["block:outputs", "block#0", "block#last", "block:"])
def test_a_name_that_cannot_be_read_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="block"), capture(Twice(), [name]):
        pass


def test_weights_of_a_layer_without_attention_are_refused() -> None:
    model = Twice()
    with (
        pytest.raises(TypeError, match=r"is Linear; only nn\.MultiheadAttention"),
        capture(model, ["block", "block:weights"]),
    ):
        pass
    assert hooks_of(model) == 0


def test_a_module_that_runs_twice_must_have_its_call_named() -> None:
    model, inputs = Twice(), torch.randn(2, 4)
    with capture(model, ["block", "block#1", "block#2", "block#3"]) as captured:
        logits = model(inputs)
    torch.testing.assert_close(captured["block#1"], model.block(inputs))
    torch.testing.assert_close(captured["block#2"].tanh(), logits)
    with pytest.raises(RuntimeError, match="ran 2 times; name the call: block#1, block#2"):
        captured["block"]
    with pytest.raises(RuntimeError, match="names call 3"):
        captured["block#3"]


def test_a_layer_that_does_not_run_is_an_error() -> None:
    model = Twice()
    with capture(model, ["unused"]) as captured:
        model(torch.randn(2, 4))
    with pytest.raises(RuntimeError, match="'unused' did not run"):
        captured["unused"]
    with pytest.raises(KeyError, match="was not captured"):
        captured["block"]


def test_a_tensor_overwritten_in_place_is_an_error_that_says_which() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True))
    with capture(model, ["0", "1"]) as captured:
        model(torch.randn(2, 1, 4, 4))
    with pytest.raises(RuntimeError, match="layer '0' was overwritten in place"):
        captured["0"]
    assert bool((captured["1"] >= 0).all())


def test_under_inference_mode_a_tensor_overwritten_in_place_is_kept_as_it_was() -> None:
    model, inputs = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True)), torch.randn(2, 1, 4, 4)
    with torch.inference_mode():
        with capture(model, ["0"]) as captured:
            model(inputs)
        torch.testing.assert_close(captured["0"], model[0](inputs))


class Pair(nn.Module):
    """Returns a mapping, as the layers of Hugging Face's models do."""

    def __init__(self, first: object = None) -> None:
        super().__init__()
        self.first = first

    def forward(self, inputs: Tensor) -> dict[str, object]:
        return {"first": inputs if self.first is None else self.first, "second": inputs + 1}


def test_of_a_mapping_the_first_tensor_is_meant() -> None:
    model = nn.Sequential(Pair())
    with capture(model, ["0"]) as captured:
        model(torch.ones(1))
    torch.testing.assert_close(captured["0"], torch.ones(1))


def test_a_layer_that_gives_no_tensor_is_an_error() -> None:
    model = nn.Sequential(Pair("a word"))
    with pytest.raises(TypeError, match="output of layer '0' is dict"), capture(model, ["0"]):
        model(torch.ones(1))


def test_no_hook_stays() -> None:
    model = Attention()
    with capture(model, ["head", "head:input", "encoder.layers.0.self_attn:weights"]):
        assert hooks_of(model) == 4
    assert hooks_of(model) == 0
    with pytest.raises(ZeroDivisionError), capture(model, ["head"]):
        raise ZeroDivisionError
    assert hooks_of(model) == 0
    with pytest.raises(KeyError), capture(model, ["head", "nowhere"]):
        pass
    assert hooks_of(model) == 0


def test_a_compiled_model_is_captured_also_after_its_first_call() -> None:
    bare = Twice()
    model = torch.compile(bare, backend="eager")
    assert isinstance(model, nn.Module)
    inputs = torch.randn(2, 4)
    wanted = model(inputs)
    with capture(model, ["block#2"]) as captured:
        logits = model(inputs)
    torch.testing.assert_close(logits, wanted)
    torch.testing.assert_close(captured["block#2"].tanh(), wanted)
