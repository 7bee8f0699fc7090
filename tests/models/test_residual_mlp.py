from pathlib import Path

import pytest
import torch

from kdlab.configuration.experiment import read
from kdlab.data.description import Description
from kdlab.models.numerical_embeddings import PeriodicEmbedding, PiecewiseLinearEmbedding
from kdlab.models.residual_mlp import ResidualMLP
from kdlab.signals.capture import capture
from tests.configuration.examples import write


def size(model: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def test_has_the_size_counted_by_hand() -> None:
    block = 2 * 192 + (192 * 384 + 384) + (384 * 192 + 192)
    rest = (20 * 192 + 192) + 2 * 192 + (192 * 3 + 3)
    assert size(ResidualMLP(20, 3)) == 2 * block + rest


def test_embeddings_add_the_size_counted_by_hand() -> None:
    plain = size(ResidualMLP(20, 3, width=8))
    wider = 20 * (24 - 1) * 8  # the first layer takes 24 values in the place of each
    periodic = size(ResidualMLP(20, 3, width=8, embedding=PeriodicEmbedding()))
    assert periodic == plain + wider + 20 * (48 + 2 * 48 * 24 + 24)
    piecewise = size(ResidualMLP(20, 3, width=8, embedding=PiecewiseLinearEmbedding()))
    assert piecewise == plain + wider + 20 * (16 * 24 + 24)


def test_is_the_papers_own_formula() -> None:
    model = ResidualMLP(4, 3, width=6, blocks=2, dropout=0.5, residual_dropout=0.5).eval()
    for norm in (module for module in model.modules() if isinstance(module, torch.nn.BatchNorm1d)):
        norm.running_mean = torch.randn(6)
    inputs = torch.randn(5, 4)
    units = model.stem(inputs)
    for block in (model.block1, model.block2):
        units = units + block.linear2(block.linear1(block.norm(units)).relu())
    torch.testing.assert_close(model(inputs), model.head(model.norm(units).relu()))


def test_layers_have_the_names_of_the_docstring() -> None:
    model = ResidualMLP(4, 3, width=6, blocks=2, embedding=PeriodicEmbedding(width=5, frequencies=2))
    layers = ["flatten", "embedding", "join", "stem", "block1", "block2", "norm", "relu", "head"]
    layers += [f"block2.{part}" for part in ("norm", "linear1", "relu", "dropout1", "linear2", "dropout2")]
    with capture(model, layers) as captured:
        model(torch.randn(3, 4))
    shapes = [tuple(captured[layer].shape[1:]) for layer in layers[:5]]
    assert shapes == [(4,), (4, 5), (20,), (6,), (6,)]


@pytest.mark.parametrize(("embedding", "layer"), [("PeriodicEmbedding", "waves"), ("PiecewiseLinearEmbedding", "bins")])
def test_an_experiment_chooses_the_embedding_by_its_class(embedding: str, layer: str, tmp_path: Path) -> None:
    model = "{class_path: MLP, init_args: {inputs: 64, classes: 10, hidden: [16]}}"
    written = (
        f"{{class_path: ResidualMLP, init_args: {{embedding: {{class_path: {embedding}, init_args: {{width: 3}}}}}}}}"
    )
    data = Description(classes=5, shape=(7,))
    built = read(write(tmp_path, (model, written))).with_names(data.handed()).build_model("student")
    assert layer in dict(built.embedding.named_children())
    assert built(torch.randn(2, 7)).shape == (2, 5)


@pytest.mark.parametrize(
    "arguments", [{"width": 0}, {"blocks": 0}, {"expansion": 0}, {"dropout": 1.0}, {"residual_dropout": -0.1}]
)
def test_refuses_wrong_sizes_in_one_line(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be (positive|in \[0, 1\)), got") as raised:
        ResidualMLP(4, 3, **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)
