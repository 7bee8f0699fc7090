"""Surrogate, additive network, selector and distilled attribution."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div

from kdlab.explainers.additive_network import AdditiveNetwork
from kdlab.explainers.base import Attribution, Learned
from kdlab.explainers.distilled_attribution import DistilledAttribution
from kdlab.explainers.grouped_net import GroupedNet
from kdlab.explainers.input_gradient import InputGradient
from kdlab.explainers.networks import fully_connected
from kdlab.explainers.neural_surrogate import NeuralSurrogate
from kdlab.explainers.selector import Selector
from kdlab.testing.explained import dense


def imitate(explainer: Learned, make_inputs: Callable[[], Tensor], steps: int, rate: float = 1e-2) -> None:
    """Train an explainer as the joint stage does, without the consistency term."""
    optimizer = torch.optim.Adam(explainer.parameters(), rate)
    for _ in range(steps):
        inputs = make_inputs()
        with torch.no_grad():
            logits = explainer.model(inputs)
        optimizer.zero_grad()
        losses = [kl_div(explainer(inputs), logits.log_softmax(dim=1), log_target=True, reduction="batchmean")]
        if isinstance(explainer, (AdditiveNetwork, Selector)):
            further = (logits,) if isinstance(explainer, Selector) else ()
            losses += explainer.terms(inputs, *further).values()
        torch.autograd.backward(losses)
        optimizer.step()


def test_a_linear_surrogates_slopes_by_hand() -> None:
    surrogate = NeuralSurrogate(nn.Linear(2, 2), inputs=2, classes=2, hidden=[])
    with torch.no_grad():
        surrogate.get_parameter("network.0.weight").copy_(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
        surrogate.get_parameter("network.0.bias").zero_()
    # At 0 both classes have 1/2, and d log q_0 / d x = w_0 - (w_0 + w_1) / 2.
    slopes = surrogate.attribute(torch.zeros(1, 2), torch.tensor([0]))
    torch.testing.assert_close(slopes, torch.tensor([[0.5, -1.5]]))


def test_the_surrogate_learns_the_model_and_its_slopes() -> None:
    model = nn.Linear(4, 3)
    surrogate = NeuralSurrogate(model, 4, 3, hidden=[32])
    imitate(surrogate, lambda: torch.randn(64, 4), steps=300)
    inputs = torch.randn(200, 4)
    assert (surrogate(inputs).argmax(dim=1) == model(inputs).argmax(dim=1)).double().mean().item() > 0.95
    target = model(inputs).argmax(dim=1)
    wanted = InputGradient(nn.Sequential(model, nn.LogSoftmax(dim=1))).attribute(inputs, target)
    cosine = torch.cosine_similarity(surrogate.attribute(inputs), wanted)
    assert cosine.mean().item() > 0.9


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="sizes must be positive"):
        NeuralSurrogate(dense(), 6, 0)
    with pytest.raises(ValueError, match="built for 6 features"):
        NeuralSurrogate(dense(), 6, 3)(torch.ones(2, 7))
    with pytest.raises(ValueError, match="sizes must be positive"):
        fully_connected(3, [0], 2)


def test_grouped_nets_equal_one_net_after_the_other() -> None:
    nets, values = GroupedNet(nets=3, inputs=2, hidden=5, outputs=4), torch.randn(6, 3, 2)
    for number in range(3):
        one = values[:, number]
        for layer in range(3):
            one = one if layer == 0 else nn.functional.gelu(one)
            one = one @ nets.weights[layer][number] + nets.biases[layer][number]
        torch.testing.assert_close(nets(values)[:, number], one)


class Additive(nn.Module):
    """Logits (x1^2 - x2, 0), which no third feature touches."""

    def forward(self, inputs: Tensor) -> Tensor:
        first = inputs[:, 0] ** 2 - inputs[:, 1]
        return torch.stack([first, torch.zeros_like(first)], dim=1)


def test_the_additive_network_finds_the_parts() -> None:
    explainer = AdditiveNetwork(Additive(), 3, 2, feature_names=["square", "line", "idle"])
    imitate(explainer, lambda: torch.randn(128, 3), steps=300)
    ranking = [name for name, _ in explainer.ranking()]
    assert ranking[2] == "idle"
    assert explainer.text().splitlines()[2].endswith("idle")
    inputs = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, -2.0, 0.0]])
    parts = explainer.attribute(inputs, torch.zeros(3).long())
    # (x1^2 - its mean 1) / 2 and -x2 / 2, halves because classes are centred.
    torch.testing.assert_close(parts.diagonal()[:2].detach(), torch.tensor([1.5, -1.0]), rtol=0, atol=0.1)
    assert parts[2, 1].item() == pytest.approx(1.0, abs=0.1)
    assert parts[:, 2].abs().max().item() < 0.05
    assert 1 <= explainer.describe()["parts_for_90_percent"] <= 2


def test_an_additive_networks_parts_sum_to_its_prediction() -> None:
    explainer = AdditiveNetwork(dense(), 6, 3, hidden=4, pairs=[(0, 1), (4, 2)])
    inputs, target = torch.randn(5, 6), torch.tensor([0, 1, 2, 0, 1])
    parts = explainer.attribute(inputs, target).sum(dim=1)
    # Nothing was seen yet, so means are zero and only the bias and the classes' mean are missing.
    logits = explainer(inputs) - explainer.bias
    centred = logits - logits.mean(dim=1, keepdim=True)
    torch.testing.assert_close(parts, centred.gather(1, target[:, None])[:, 0], rtol=1e-4, atol=1e-5)
    assert explainer.describe()["share_of_pairs"] == 0.0


def test_a_pair_that_there_is_not_is_refused() -> None:
    for pair in [(0, 6), (1, 1)]:
        with pytest.raises(ValueError, match="must name two of the 6 features"):
            AdditiveNetwork(dense(), 6, 3, pairs=[pair])


class OneOfSix(nn.Module):
    """Everything hangs on the sign of the third input."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.stack([8.0 * inputs[:, 2], torch.zeros_like(inputs[:, 2])], dim=1)


def test_the_selector_finds_the_feature_that_counts() -> None:
    selector = Selector(OneOfSix(), [6], 2, chosen=1, hidden=[32])
    imitate(selector, lambda: torch.randn(128, 6), steps=300, rate=5e-3)
    inputs = torch.randn(100, 6)
    assert selector.choose(inputs).sum(dim=1).eq(1).all()
    assert selector.choose(inputs)[:, 2].float().mean().item() > 0.95
    torch.testing.assert_close(selector.attribute(inputs).sum(dim=1), torch.ones(100))
    numbers = selector.describe()
    assert abs(numbers["encoding"]) < 0.1


def test_the_selectors_prediction_trains_the_selector_alone() -> None:
    selector, inputs = Selector(dense(), [6], 3, chosen=2, hidden=[8]), torch.randn(4, 6)
    selector(inputs).square().sum().backward()
    assert any(weight.grad is not None and bool(weight.grad.any()) for weight in selector.selector.parameters())
    assert all(weight.grad is None for part in (selector.reader, selector.judge) for weight in part.parameters())
    selector.zero_grad()
    terms = selector.terms(inputs, torch.randn(4, 3), torch.zeros(6))
    torch.autograd.backward(list(terms.values()))
    assert all(weight.grad is None for weight in selector.selector.parameters())
    assert all(weight.grad is not None for part in (selector.reader, selector.judge) for weight in part.parameters())


def test_the_relaxed_choice_shows_at_most_k_and_of_equals_the_first() -> None:
    selector = Selector(dense(), [6], 3, chosen=2)
    relaxed = selector._relaxed(torch.randn(50, 6))
    assert bool((relaxed >= 0).all() and (relaxed <= 1).all() and (relaxed.sum(dim=1) <= 2 + 1e-5).all())
    assert selector.best(torch.zeros(1, 6)).tolist() == [[True, True, False, False, False, False]]
    with pytest.raises(ValueError, match="need chosen from 1 to 6"):
        Selector(dense(), [6], 3, chosen=7)


class Fixed:
    """A teacher that is a linear net; its slopes are its weights."""

    def __init__(self) -> None:
        self.network = nn.Linear(4, 3)

    def attributions(self, inputs: Tensor, target: Tensor, explainer: Callable[[nn.Module], Attribution]) -> Tensor:
        with torch.no_grad():
            return explainer(self.network).attribute(inputs, target)


def test_the_teachers_attributions_are_learned() -> None:
    teacher, explainer = Fixed(), DistilledAttribution(nn.Linear(4, 3), 4, 3, hidden=[16])
    optimizer = torch.optim.Adam(explainer.parameters(), 1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        terms = explainer.terms(torch.randn(32, 4), torch.randint(3, (32,)), teacher)
        torch.autograd.backward(list(terms.values()))
        optimizer.step()
    target = torch.tensor([0, 1, 2])
    ours = explainer.attribute(torch.randn(3, 4), target)
    assert torch.cosine_similarity(ours, teacher.network.weight[target]).min().item() > 0.95
    assert (ours - teacher.network.weight[target]).abs().max().item() < 0.2


def test_the_distance_from_the_teacher_by_hand() -> None:
    explainer = DistilledAttribution(nn.Linear(2, 2), 2, 2, hidden=[4])
    with torch.no_grad():
        for weight in explainer.map.parameters():
            weight.zero_()
        explainer.get_parameter("map.2.bias").copy_(torch.tensor([1.0, 0.0]))
    inputs, target, teacher = torch.zeros(2, 2), torch.tensor([0, 1]), torch.tensor([[0.0, 2.0], [0.0, 0.0]])
    # Squares 5 and 1 over the mean 2; the directions are at right angles, and the dead map has none.
    value = explainer.terms(inputs, target, Fixed(), teacher)["teacher_attributions"]
    assert value.item() == pytest.approx(((5 / 2 + 1) + 1 / 2) / 2)
    dead = explainer.terms(inputs, target, Fixed(), torch.zeros(2, 2))["teacher_attributions"]
    assert bool(dead.isfinite())
    with pytest.raises(ValueError, match=r"one shape, got \(2, 3\) and \(2, 2\)"):
        explainer.terms(inputs, target, Fixed(), torch.zeros(2, 3))
