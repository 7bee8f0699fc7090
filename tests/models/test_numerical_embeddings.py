from math import cos, pi, sin
from typing import Any

import pytest
import torch
from torch import nn

from kdlab.models.numerical_embeddings import NumericalEmbedding, PeriodicEmbedding, PiecewiseLinearEmbedding

EMBEDDINGS = [PeriodicEmbedding(width=5, frequencies=3), PiecewiseLinearEmbedding(width=5, bins=3)]


@pytest.mark.parametrize("embedding", EMBEDDINGS, ids=lambda embedding: type(embedding).__name__)
class TestBoth:
    def test_gives_each_number_a_vector_of_its_own_layers(self, embedding: NumericalEmbedding) -> None:
        layers, numbers = embedding.layers(4), torch.randn(6, 4)
        vectors = layers(numbers)
        assert vectors.shape == (6, 4, 5)
        changed = numbers.clone()
        changed[:, 2] += 1
        assert (layers(changed) != vectors).any(dim=(0, 2)).tolist() == [False, False, True, False]
        same = layers(numbers[:, :1].expand(6, 4))
        assert not torch.equal(same[:, 0], same[:, 1])

    def test_trains_each_weight(self, embedding: NumericalEmbedding) -> None:
        layers = embedding.layers(4)
        layers(torch.randn(50, 4)).square().sum().backward()
        assert all(weight.grad is not None and weight.grad.any() for weight in layers.parameters())

    def test_makes_new_layers_each_time_which_follow_the_seed(self, embedding: NumericalEmbedding) -> None:
        states = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            states.append(torch.cat([weight.flatten() for weight in embedding.layers(4).parameters()]))
        assert torch.equal(states[0], states[1])
        assert not torch.equal(states[0], states[2])


def test_waves_by_hand() -> None:
    waves = PeriodicEmbedding(frequencies=2).layers(1).get_submodule("waves")
    nn.init.constant_(waves.get_parameter("frequency"), 0.5)
    with torch.no_grad():
        waves.get_parameter("frequency")[0, 1] = 2.0
    turns = [0.5 * 0.3, 2.0 * 0.3]
    expected = [sin(2 * pi * turn) for turn in turns] + [cos(2 * pi * turn) for turn in turns]
    torch.testing.assert_close(waves(torch.tensor([[0.3]])), torch.tensor([[expected]]))


def test_frequencies_have_the_spread_that_scale_says() -> None:
    frequency = PeriodicEmbedding(frequencies=500, scale=3.0).layers(20).get_parameter("waves.frequency")
    assert frequency.std().item() == pytest.approx(3.0, rel=0.03)


@pytest.mark.parametrize(
    ("number", "shares"),
    [
        (0.5, [0.5, 0.0, 0.0]),
        (1.0, [1.0, 0.0, 0.0]),
        (2.0, [1.0, 0.5, 0.0]),
        (3.5, [1.0, 1.0, 0.5]),
        (-1.0, [-1.0, 0.0, 0.0]),  # the first and the last bin go on
        (6.0, [1.0, 1.0, 3.0]),
    ],
)
def test_shares_of_bins_by_hand(number: float, shares: list[float]) -> None:
    bins = PiecewiseLinearEmbedding(edges=[[0, 1, 3, 4], [0, 10, 20, 30]]).layers(2).get_submodule("bins")
    torch.testing.assert_close(bins(torch.tensor([[number, 5.0]])), torch.tensor([[shares, [0.5, 0.0, 0.0]]]))


def test_one_bin_is_the_number_itself_measured_from_its_edges() -> None:
    bins = PiecewiseLinearEmbedding(edges=[[2.0, 4.0]]).layers(1).get_submodule("bins")
    torch.testing.assert_close(bins(torch.tensor([[0.0], [3.0], [8.0]])).flatten(), torch.tensor([-1.0, 0.5, 3.0]))


def test_without_edges_each_bin_holds_as_many_standardised_values() -> None:
    bins = PiecewiseLinearEmbedding(bins=4).layers(2).get_submodule("bins")
    edges = bins.get_buffer("edges")
    assert torch.equal(edges[0], edges[1])
    below = (torch.randn(100_000, 1) < edges[0]).float().mean(dim=0)
    torch.testing.assert_close(below, torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9]), atol=0.01, rtol=0)


def test_edges_follow_from_training_data_as_the_docstring_says() -> None:
    inputs = torch.randn(200, 3) * torch.tensor([1.0, 10.0, 100.0])
    edges = torch.quantile(inputs, torch.linspace(0, 1, 5), dim=0).T.tolist()
    shares = PiecewiseLinearEmbedding(edges=edges).layers(3).get_submodule("bins")(inputs)
    assert shares.shape == (200, 3, 4)
    assert shares.min() >= 0
    torch.testing.assert_close(
        (shares == 1).float().mean(dim=0)[0], torch.tensor([0.75, 0.5, 0.25, 0.005]), atol=0.006, rtol=0
    )


@pytest.mark.parametrize(
    ("embedding", "arguments", "message"),
    [
        (PeriodicEmbedding, {"scale": 0.0}, "sizes and scale must be positive, got"),
        (PeriodicEmbedding, {"frequencies": 0}, "sizes and scale must be positive, got"),
        (PiecewiseLinearEmbedding, {"bins": 0}, "sizes must be positive, got"),
        (PiecewiseLinearEmbedding, {"edges": [[0, 1], [1, 1]]}, r"must rise.*got \[1, 1\] for column 1"),
        (PiecewiseLinearEmbedding, {"edges": [[0, 1, 2], [1, 2]]}, r"as many for each, got \[1, 2\] for column 1"),
        (PiecewiseLinearEmbedding, {"edges": [[0]]}, "be at least 2"),
    ],
)
def test_refuses_wrong_arguments_in_one_line(embedding: type, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        embedding(**arguments)
    assert "\n" not in str(raised.value)


def test_refuses_edges_of_another_number_of_columns() -> None:
    with pytest.raises(ValueError, match="for each of 3 inputs, got those of 1"):
        PiecewiseLinearEmbedding(edges=[[0, 1]]).layers(3)
