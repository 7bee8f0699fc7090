"""The penalty on a student's tree, and the network that foretells it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector

from kdlab.explainers.length_surrogate import LengthSurrogate
from kdlab.explainers.tree_regularisation import TreeRegularisation
from kdlab.metrics.numerics import spearman
from kdlab.models.mlp import MLP
from kdlab.modules.joint import Joint
from tests.modules.fitting import batch, equal, fit, student, teacher, weights


def linear() -> nn.Linear:
    """Two classes by three features of falling weight."""
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0, 1.0, -0.5], [-2.0, -1.0, 0.5]]))
        model.bias.zero_()
    return model


def refitted(inputs: Tensor, copies: int = 200) -> TreeRegularisation:
    tree = TreeRegularisation(linear(), 3, 2, copies=copies)
    tree.refit([{"inputs": inputs}])
    return tree


def small(model: nn.Module) -> TreeRegularisation:
    return TreeRegularisation(model, 64, 3, copies=4, pairs=8, surrogate_hidden=4, surrogate_steps=5)


# The surrogate


def test_the_surrogate_learns_lengths_from_weights() -> None:
    surrogate, slope = LengthSurrogate(20), torch.randn(20)
    vectors = torch.randn(240, 20)
    surrogate.remember(vectors, 4 + vectors @ slope)
    surrogate.fit()
    held = torch.randn(100, 20)
    assert spearman(surrogate(held)[None], (held @ slope)[None]).item() > 0.9
    # In questions, not standardised: the very lengths, to a sixth of their spread and without a shift.
    wanted = 4 + held @ slope
    error = surrogate(held).detach() - wanted
    assert error.square().mean().sqrt().item() < wanted.std().item() / 6
    assert error.mean().item() == pytest.approx(0, abs=wanted.std().item() / 10)


def test_the_oldest_pairs_go_first() -> None:
    surrogate = LengthSurrogate(2, capacity=4)
    for number in range(3):
        surrogate.remember(torch.full((3, 2), float(number)), torch.full((3,), float(number)))
    assert surrogate.lengths.sort().values.tolist() == [1.0, 2.0, 2.0, 2.0]


def test_weights_that_never_moved_and_equal_lengths_are_no_error() -> None:
    surrogate, vectors = LengthSurrogate(3), torch.randn(10, 3)
    vectors[:, 1] = 5.0
    surrogate.remember(vectors, torch.full((10,), 2.0))
    surrogate.fit()
    vector = torch.tensor([0.0, 100.0, 0.0], requires_grad=True)
    (slope,) = torch.autograd.grad(surrogate(vector), vector)
    assert slope[1] == 0
    assert bool(slope.isfinite().all())


def test_the_surrogate_draws_from_no_global_generator() -> None:
    vectors, state = torch.arange(30.0).reshape(10, 3), torch.get_rng_state()
    surrogate = LengthSurrogate(3)
    with torch.no_grad():
        surrogate.remember(vectors, torch.arange(10.0))
        surrogate.fit()
    assert torch.equal(torch.get_rng_state(), state)


# Lengths


def test_the_length_is_that_of_the_tree_fitted() -> None:
    inputs = torch.randn(400, 3)
    tree = refitted(inputs, copies=2)
    vector = parameters_to_vector(tree.model.parameters()).detach()
    assert tree.path_length(inputs, vector) == pytest.approx(tree.describe()["mean_path_length"])
    assert tree.path_length(inputs, torch.zeros_like(vector)) == 0.0


def test_the_surrogate_ranks_models_that_it_never_saw() -> None:
    inputs = torch.randn(400, 3)
    tree = refitted(inputs)
    held = TreeRegularisation(linear(), 3, 2, copies=100, seed=7)._copies()
    lengths = torch.tensor([tree.path_length(inputs, vector) for vector in held])
    assert spearman(tree.surrogate(held)[None], lengths[None]).item() > 0.5


def test_downhill_the_tree_is_shorter_and_uphill_longer() -> None:
    inputs = torch.randn(400, 3)
    tree = refitted(inputs)
    term = tree.terms(tree.model(inputs))["path_length"]
    slopes = torch.autograd.grad(term, list(tree.model.parameters()))
    here, slope = parameters_to_vector(tree.model.parameters()).detach(), parameters_to_vector(slopes)
    step = 0.3 * here.norm() * slope / slope.norm()
    lengths = [tree.path_length(inputs, vector) for vector in (here - step, here, here + step)]
    assert lengths[0] < lengths[1] < lengths[2]


def test_measuring_leaves_the_student_as_it_was() -> None:
    model = MLP(3, 2, hidden=[4], dropout=0.5).train()
    tree, before, state = TreeRegularisation(model, 3, 2, copies=3), weights(model), torch.get_rng_state()
    tree.refit([{"inputs": torch.randn(40, 3, generator=torch.Generator().manual_seed(0))}])
    assert equal(weights(model), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())


def test_it_tells_how_well_lengths_were_foretold() -> None:
    tree, inputs = refitted(torch.randn(200, 3)), torch.randn(200, 3)
    assert tree.describe()["path_length_error"] != tree.describe()["path_length_error"]  # nothing to compare with yet
    tree.refit([{"inputs": inputs}])
    numbers = tree.describe()
    assert 0 < numbers["path_length_error"] < 2
    assert numbers["path_length_rank"] > 0.3


# In training


def test_the_term_trains_the_student_and_its_own_optimiser_alone_the_surrogate() -> None:
    module = Joint(student(), small, teacher(), couple=True)
    assert list(module.explainer.parameters()) == []
    assert "explainer/path_length" not in module.terms(module.signals(batch()), step=0)
    fit(module, epochs=1)
    weight, value = module.terms(module.signals(batch()), step=0)["explainer/path_length"]
    assert weight == 1.0
    slopes = torch.autograd.grad(value, list(module.model.parameters()))
    assert any(bool(slope.any()) for slope in slopes)
    assert all(bool(slope.isfinite().all()) for slope in slopes)


def test_a_student_that_is_not_to_be_shaped_is_refused_before_training() -> None:
    module = Joint(student(), small, teacher())
    with pytest.raises(TypeError, match="set couple: true at Joint, or take RuleTree"):
        module.prepare(batch())


def test_the_penalty_survives_half_precision() -> None:
    tree, inputs = refitted(torch.randn(100, 3), copies=8), torch.randn(10, 3)
    plain = tree.terms(tree.model(inputs))["path_length"]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(tree.terms(tree.model(inputs))["path_length"], plain)


def test_a_stopped_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole, first, second = (Joint(student(), small, teacher(), couple=True) for _ in range(3))
    fit(whole, epochs=3)
    fit(first, epochs=1, save=tmp_path / "first.ckpt")
    fit(second, epochs=3, resume=tmp_path / "first.ckpt")
    assert equal(weights(whole.model), weights(second.model))
    # A number that there is not yet equals none.
    explainers = [[value.nan_to_num(-1.0) for value in weights(one.explainer)] for one in (whole, second)]
    assert equal(*explainers)
    assert whole.explainer.state_dict()["surrogate.seen"] == 15


@pytest.mark.parametrize("wrong", [{"path_length_weight": -1.0}, {"copies": 0}, {"rows": 0}, {"copies": 9, "pairs": 9}])
def test_bad_sizes_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="need path_length_weight >= 0, copies, rows >= 1 and pairs > copies"):
        TreeRegularisation(linear(), 3, 2, **wrong)  # type: ignore[arg-type]  # one of several types
    with pytest.raises(ValueError, match="need weights, hidden, capacity, steps >= 1"):
        LengthSurrogate(3, steps=0)


def table(seed: int, samples: int) -> tuple[Tensor, Tensor]:
    """Two steps that a short tree can say, and seven weak slopes that it cannot."""
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, 10, generator=draw)
    steps = 2.0 * (inputs[:, 0] > 0) + 2.0 * ((inputs[:, 1] > 0.3) & (inputs[:, 2] < 0.5))
    return inputs, (steps - 1.9 + inputs[:, 3:] @ torch.linspace(0.5, 0.1, 7) > 0).long()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_penalised_student_has_a_shorter_tree_at_nearly_the_same_accuracy() -> None:
    inputs, target = table(0, 1000)
    others, wanted = table(100, 4000)
    lengths, accuracies = [], []
    for weight in (0.0, 0.1):
        torch.manual_seed(0)
        model = MLP(10, 2, hidden=[16])
        tree = TreeRegularisation(model, 10, 2, path_length_weight=weight, copies=64, rows=500, pairs=512)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for _ in range(60):
            for rows in torch.randperm(1000).split(32):
                logits = model(inputs[rows])
                terms = [cross_entropy(logits, target[rows]), *tree.terms(logits).values()]
                optimizer.zero_grad()
                torch.autograd.backward(terms)
                optimizer.step()
            tree.refit([{"inputs": inputs}])
        lengths.append(tree.describe()["mean_path_length"])
        accuracies.append((model(others).argmax(dim=1) == wanted).double().mean().item())
    assert lengths[1] < lengths[0] - 0.5
    assert accuracies[1] > accuracies[0] - 0.07
