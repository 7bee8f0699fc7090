"""Players, exact and estimated Shapley values, and their amortisation."""

from itertools import permutations

import pytest
import torch
from torch import Tensor, nn

from kdlab.explainers.amortised_shapley import AmortisedShapley
from kdlab.explainers.exact_shapley import ExactShapley
from kdlab.explainers.kernel_shap import KernelShap
from kdlab.explainers.networks import Squares
from kdlab.explainers.players import (
    Features,
    Groups,
    Players,
    Segments,
    Superpixels,
    draw_coalitions,
    kernel_sizes,
    reveal,
    spread,
)
from kdlab.testing.explained import conv, dense


class Product(nn.Module):
    """Logits (x1 x2 + x3, 0)."""

    def forward(self, inputs: Tensor) -> Tensor:
        first = inputs[:, 0] * inputs[:, 1] + inputs[:, 2]
        return torch.stack([first, torch.zeros_like(first)], dim=1)


def test_value_by_hand() -> None:
    # At (2, 3, 5) against 0 the product's 6 is shared equally by its two factors, and the third input is alone.
    inputs, target = torch.tensor([[2.0, 3.0, 5.0]]), torch.tensor([0])
    for explainer in (ExactShapley(Product()), KernelShap(Product(), draws=6)):
        torch.testing.assert_close(explainer.attribute(inputs, target), torch.tensor([[3.0, 3.0, 5.0]]))
    # Against the baseline 1: v(all) - v(none) = 11 - 2, the third gives 4, the others 2 * 3 - 1 = 5, of which
    # the first gives ((2 - 1) + (6 - 3)) / 2 = 2 and the second ((3 - 1) + (6 - 2)) / 2 = 3.
    against_one = ExactShapley(Product(), baseline=1.0).attribute(inputs, target)
    torch.testing.assert_close(against_one, torch.tensor([[2.0, 3.0, 4.0]]))


def test_exact_values_are_the_mean_over_all_orders() -> None:
    model, inputs, target = dense().eval(), torch.randn(1, 6), torch.tensor([2])
    wanted = torch.zeros(6)
    orders = list(permutations(range(6)))
    with torch.no_grad():
        values = model(
            torch.stack([inputs[0] * mask for mask in torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 6)])
        )[:, 2]
    for order in orders:
        place = 0
        for player in order:
            joined = place + 2 ** (5 - player)
            wanted[player] += (values[joined] - values[place]) / len(orders)
            place = joined
    torch.testing.assert_close(ExactShapley(model).attribute(inputs, target)[0].detach(), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("players", [Groups([0, 0, 1, 2, 1, 2]), Features()])
def test_the_regression_over_all_coalitions_is_exact(players: Players) -> None:
    model, inputs = dense().eval(), torch.randn(4, 6)
    exact = ExactShapley(model, baseline=0.5, players=players).attribute(inputs)
    torch.testing.assert_close(KernelShap(model, 62, 0.5, players).attribute(inputs), exact, rtol=1e-4, atol=1e-5)


def test_the_estimate_comes_nearer_with_more_draws_and_always_adds_up() -> None:
    model = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 2))
    inputs, target = torch.randn(8, 10), torch.zeros(8).long()
    with torch.no_grad():
        exact = ExactShapley(model).attribute(inputs, target)
        errors = []
        for draws in (40, 400):
            estimate = KernelShap(model, draws).attribute(inputs, target)
            torch.testing.assert_close(estimate.sum(dim=1), exact.sum(dim=1), rtol=1e-4, atol=1e-5)
            errors.append(float((estimate - exact).abs().mean()))
    assert errors[1] < 0.5 * errors[0]


def test_fewer_draws_than_players_still_add_up() -> None:
    model, inputs = conv().eval(), torch.randn(2, 2, 8, 8)
    with torch.no_grad():
        total = KernelShap(model, draws=10).attribute(inputs, torch.tensor([0, 1])).flatten(1).sum(dim=1)
        change = (model(inputs) - model(torch.zeros_like(inputs)))[[0, 1], [0, 1]]
    torch.testing.assert_close(total, change, rtol=1e-3, atol=1e-5)


def test_too_many_players_are_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"128 players make .* choose KernelShap"):
        ExactShapley(conv()).attribute(torch.randn(1, 2, 8, 8))


def test_players_are_numbered_as_they_say() -> None:
    assert Features().assignment([2, 2]).tolist() == [[0, 1], [2, 3]]
    assert Groups([0, 1, 0]).assignment([3]).tolist() == [0, 1, 0]
    squares = Superpixels(2).assignment([2, 3, 4])
    assert squares[0].tolist() == squares[1].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3]]
    assert Segments(2).assignment([3, 2]).tolist() == [[0, 0], [0, 0], [1, 1]]
    assert Segments(2, time_axis=1).assignment([2, 3]).tolist() == [[0, 0, 1], [0, 0, 1]]


def test_players_refuse_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="without gaps"):
        Groups([0, 2])
    with pytest.raises(ValueError, match="3 values have a group"):
        Groups([0, 1, 2]).assignment([4])
    with pytest.raises(ValueError, match="superpixels need images"):
        Superpixels(2).assignment([4])
    with pytest.raises(ValueError, match="has no axis 1"):
        Segments(2, time_axis=1).assignment([4])
    for make in (Superpixels, Segments):
        with pytest.raises(ValueError, match="must be positive"):
            make(0)


def test_revealing_and_spreading_by_hand() -> None:
    assignment = torch.tensor([0, 0, 1])
    inputs, baseline = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([9.0, 8.0, 7.0])
    shown = torch.tensor([[True, False], [False, True]])
    assert reveal(inputs, baseline, shown, assignment).tolist() == [[1, 2, 7], [9, 8, 3]]
    assert reveal(inputs, baseline, shown[None], assignment).tolist() == [[1, 2, 7], [9, 8, 3]]
    assert spread(torch.tensor([[4.0, 5.0]]), assignment).tolist() == [[2, 2, 5]]


def test_coalitions_follow_the_size_law_in_complementary_pairs() -> None:
    # p(k) of 4 players: 1/3, 1/4, 1/3 over their sum 11/12.
    torch.testing.assert_close(kernel_sizes(4), torch.tensor([4 / 11, 3 / 11, 4 / 11], dtype=torch.float64))
    drawn = draw_coalitions(40_001, 4, torch.device("cpu"), torch.Generator().manual_seed(0))
    assert len(drawn) == 40_002
    assert torch.equal(drawn[0::2], ~drawn[1::2])
    shares = torch.bincount(drawn.sum(dim=1), minlength=4)[1:] / len(drawn)
    torch.testing.assert_close(shares, kernel_sizes(4).float(), rtol=0, atol=0.01)
    torch.testing.assert_close(drawn.float().mean(dim=0), torch.full((4,), 0.5), rtol=0, atol=0.01)


def test_the_amortised_values_of_a_linear_model_are_learned() -> None:
    # Shapley values of a linear model are weight * (input - baseline).
    model = nn.Linear(5, 2)
    baseline = torch.full((5,), 0.5)
    explainer = AmortisedShapley(model, shape=[5], classes=2, hidden=[16])
    optimizer = torch.optim.Adam(explainer.parameters(), 3e-3)
    for _ in range(400):
        optimizer.zero_grad()
        torch.autograd.backward(list(explainer.terms(torch.randn(32, 5), baseline).values()))
        optimizer.step()
    explainer.requires_grad_(False)
    inputs, target = torch.randn(64, 5), torch.randint(2, (64,))
    wanted = model.weight.detach()[target] * (inputs - baseline)
    error = (explainer.attribute(inputs, target).detach() - wanted).abs().mean() / wanted.abs().mean()
    assert float(error) < 0.1
    agreement = (explainer.eval()(inputs).argmax(dim=1) == model(inputs).argmax(dim=1)).float().mean()
    assert float(agreement) > 0.9


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_amortised_values_add_up_to_the_value_function(average: float) -> None:
    model = dense().eval()
    explainer = AmortisedShapley(model, [6], 3, players=Groups([0, 0, 1, 1, 2, 2]), average=average)
    inputs, target = torch.randn(4, 6), torch.tensor([0, 1, 2, 0])
    explainer.terms(inputs, torch.ones(6))
    source = explainer.averaged or model
    with torch.no_grad():
        change = (source.eval()(inputs) - source(torch.ones(1, 6))).gather(1, target[:, None])[:, 0]
        torch.testing.assert_close(explainer.attribute(inputs, target).sum(dim=1), change)


def test_the_average_follows_the_model() -> None:
    model = nn.Linear(3, 2)
    explainer = AmortisedShapley(model, [3], 2, average=0.75)
    assert explainer.averaged is not None
    before = model.weight.detach().clone()
    with torch.no_grad():
        model.weight += 1.0
    explainer.terms(torch.ones(4, 3), torch.zeros(3))
    torch.testing.assert_close(explainer.averaged.get_parameter("weight"), before + 0.25)
    assert not any(weight.requires_grad for weight in explainer.averaged.parameters())


def test_a_single_player_gets_everything() -> None:
    model = nn.Linear(3, 2)
    explainer = AmortisedShapley(model, [3], 2, players=Groups([0, 0, 0]))
    inputs = torch.randn(4, 3)
    assert explainer.terms(inputs, torch.zeros(3))["shapley"].item() == 0.0
    change = (model(inputs) - model.bias)[:, 0]
    torch.testing.assert_close(explainer.attribute(inputs, torch.zeros(4).long()).sum(dim=1), change)
    torch.testing.assert_close(
        KernelShap(model, players=Groups([0, 0, 0])).attribute(inputs, torch.zeros(4).long()).sum(dim=1), change
    )


def test_a_network_of_the_users_own_gives_the_players_values() -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 2, stride=2), nn.Flatten())
    explainer = AmortisedShapley(conv(), [2, 8, 8], 3, players=Superpixels(2), network=network)
    assert explainer.attribute(torch.randn(2, 2, 8, 8)).shape == (2, 2, 8, 8)


def test_squares_are_worth_what_a_layer_over_square_and_image_says() -> None:
    network = Squares([1, 8, 12], classes=3, size=4, hidden=6)
    images = torch.randn(2, 1, 8, 12)
    # The fifth square is the second of the second row: rows 4 to 8, columns 4 to 8, and two pixels around, here or not.
    around = nn.functional.pad(images, (2, 2, 2, 2))[0, 0, 4:12, 4:12].flatten()
    wanted = network.worth(network.near(around) + network.whole(images)[0])
    torch.testing.assert_close(network(images).reshape(2, 6, 3)[0, 4], wanted)


@pytest.mark.parametrize(("shape", "size"), [([1, 9, 9], 3), ([1, 8, 8], 16), ([1, 8, 6], 4), ([8, 8], 4)])
def test_squares_that_do_not_fill_the_image_are_refused(shape: list[int], size: int) -> None:
    with pytest.raises(ValueError, match="cuts evenly"):
        Squares(shape, 3, size)


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="coalitions >= 2"):
        AmortisedShapley(dense(), [6], 3, coalitions=1)
    with pytest.raises(ValueError, match="draws >= 2"):
        KernelShap(dense(), draws=1)
    with pytest.raises(ValueError, match="rows must be positive"):
        ExactShapley(dense(), rows=0)


# The dummy axiom: what stands at the baseline changes nothing and is worth nothing


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("groups", [[0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 2, 2]])
def test_players_at_the_baseline_are_worth_nothing_and_the_others_share_the_gap(groups: list[int], given: bool) -> None:
    model, players = dense().eval(), len(set(groups))
    network = nn.Linear(6, 3 * players) if given else None
    explainer = AmortisedShapley(model, [6], 3, players=Groups(groups), hidden=[8], network=network).eval()
    baseline = torch.linspace(-1, 1, 6)
    inputs, target = torch.randn(2**players, 6), torch.arange(2**players) % 3
    # Every set of players at the baseline once.
    for row in range(2**players):
        for value, player in enumerate(groups):
            if row >> player & 1:
                inputs[row, value] = baseline[value]
    explainer.terms(inputs, baseline)
    with torch.no_grad():
        values = explainer.attribute(inputs, target)
        deployed = explainer.deployed()(inputs, model(inputs), target)
        change = (model(inputs) - model(baseline[None])).gather(1, target[:, None])[:, 0]
    at_baseline = inputs == baseline
    assert at_baseline.any(dim=1).sum() == 2**players - 1
    assert not values[at_baseline].any()
    assert bool((values[~at_baseline] != 0).all())
    torch.testing.assert_close(values.sum(dim=1), change, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(deployed, values, rtol=1e-5, atol=1e-6)
    # All at the baseline: nothing to share, by construction.
    assert not values[-1].any()


def test_the_gap_by_hand() -> None:
    # v(all) - v(none) = 3 - (-3) = 6 for the difference of the two logits of x1 + x2 + x3 with signs +, -; untrained
    # values that are all 0 leave a gap of 3 for the first class, and two of three players share it.
    model = nn.Linear(3, 2, bias=False)
    explainer = AmortisedShapley(model, [3], 2, network=nn.Linear(3, 6)).eval()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]]))
        for weight in explainer.network.parameters() if explainer.network is not None else ():
            weight.zero_()
    inputs = torch.tensor([[1.0, 0.0, 2.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    values = explainer.attribute(inputs, torch.zeros(3).long())
    assert values.tolist() == [[1.5, 0.0, 1.5], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_the_regression_is_of_values_that_keep_the_axiom() -> None:
    model, inputs = dense().eval(), torch.zeros(5, 6)
    inputs[:, 0] = torch.randn(5)
    explainer = AmortisedShapley(model, [6], 3, hidden=[8])
    # One player alone has all the change, in whatever coalition: nothing is left to learn.
    assert explainer.terms(inputs, torch.zeros(6))["shapley"].item() == pytest.approx(0.0, abs=1e-9)
