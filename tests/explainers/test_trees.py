"""Soft and rule trees: training, hardening, rules."""

import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeRegressor
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax

from kdlab.explainers.rule_tree import RuleTree
from kdlab.explainers.soft_decision_tree import SoftDecisionTree
from kdlab.explainers.tree_picture import Branch, as_figure, as_text


class Fixed(nn.Module):
    """Logits of a rule: class 0 where the first input is positive, else 1 or 2 by the second."""

    def forward(self, inputs: Tensor) -> Tensor:
        first, second = inputs[:, 0] > 0, inputs[:, 1] > 0
        label = torch.where(first, 0, torch.where(second, 1, 2))
        return 6.0 * nn.functional.one_hot(label, 3).to(inputs.dtype)


def grown(depth: int = 2) -> tuple[SoftDecisionTree, Tensor]:
    """Train a soft tree on the fixed rule."""
    model, inputs = Fixed(), torch.randn(400, 4)
    tree = SoftDecisionTree(model, inputs=4, classes=3, depth=depth)
    optimizer = torch.optim.Adam(tree.parameters(), 0.05)
    logits = model(inputs)
    for _ in range(150):
        optimizer.zero_grad()
        loss = kl_div(tree(inputs), logits.log_softmax(dim=1), log_target=True, reduction="batchmean")
        torch.autograd.backward([loss, *tree.terms(inputs, logits).values()])
        optimizer.step()
    return tree, inputs


def test_soft_tree_by_hand() -> None:
    tree = SoftDecisionTree(Fixed(), inputs=1, classes=2, depth=1, path_penalty=1.0, path_loss=1.0)
    with torch.no_grad():
        tree.gates.weight.copy_(torch.tensor([[1.0]]))
        tree.gates.bias.zero_()
        tree.leaves.copy_(torch.tensor([[0.5, 0.5], [0.25, 0.75]]).log())
    inputs = torch.tensor([[3.0]]).log()
    # Yes with probability sigmoid(ln 3) = 3/4: 1/4 (1/2, 1/2) + 3/4 (1/4, 3/4) = (5/16, 11/16).
    torch.testing.assert_close(tree(inputs).exp(), torch.tensor([[5 / 16, 11 / 16]]))
    # A model of (1/2, 1/2) loses nothing in the first leaf and (ln 2 + ln 2/3) / 2 in the second, which has 3/4.
    terms = tree.eval().terms(inputs, torch.zeros(1, 2))
    torch.testing.assert_close(terms["path_loss"], 0.75 * 0.5 * torch.tensor(4 / 3).log())
    # The running share starts at 1/2 and moves a tenth towards 3/4: 0.525 yes, 0.475 no.
    torch.testing.assert_close(terms["path_penalty"], -0.5 * (torch.tensor(0.525).log() + torch.tensor(0.475).log()))
    # The way down: the root 0, then its yes side 2.
    assert tree.path(inputs).tolist() == [[0, 2]]
    assert tree.decide(inputs).tolist() == [1]


def test_soft_tree_equals_the_product_of_its_answers_written_naively() -> None:
    tree, inputs = SoftDecisionTree(Fixed(), inputs=4, classes=3, depth=3), torch.randn(5, 4)
    yes = tree.gates(inputs).sigmoid()
    mixture = torch.zeros(5, 3)
    for leaf in range(8):
        reached, node = torch.ones(5), 0
        for level in range(3):
            answer = leaf >> (2 - level) & 1
            reached = reached * (yes[:, node] if answer else 1 - yes[:, node])
            node = 2 * node + 1 + answer
        mixture += reached[:, None] * tree.leaves[node - 7].softmax(dim=0)
    torch.testing.assert_close(tree(inputs).exp(), mixture)


def test_no_leaf_underflows() -> None:
    tree = SoftDecisionTree(Fixed(), inputs=4, classes=3, depth=8)
    inputs = (1e4 * torch.randn(3, 4)).requires_grad_()
    torch.autograd.backward([tree(inputs).sum(), *tree.terms(inputs, torch.zeros(3, 3)).values()])
    assert all(bool(weight.grad is not None and weight.grad.isfinite().all()) for weight in tree.parameters())


def test_the_hardened_tree_predicts_exactly_what_the_most_likely_turns_do() -> None:
    tree, inputs = grown(depth=4)
    hard = tree.harden()
    flat = torch.cat([inputs, 3 * torch.randn(500, 4)])
    assert torch.equal(hard.predict(flat), tree.decide(flat))
    assert torch.equal(hard.path(flat), tree.path(flat))
    assert float((tree.decide(inputs) == Fixed()(inputs).argmax(dim=1)).float().mean()) > 0.95
    assert float((tree(inputs).argmax(dim=1) == Fixed()(inputs).argmax(dim=1)).float().mean()) > 0.95


def test_the_hardened_tree_reads_without_idle_questions() -> None:
    tree, _ = grown(depth=4)
    numbers = tree.describe()
    assert numbers["leaves"] < 16
    text = tree.text()
    assert text.count("class ") == numbers["leaves"]
    assert text.count("if ") == numbers["leaves"] - 1
    assert "[feature 0]" in text


def test_rules_in_full_reproduce_the_hardened_tree() -> None:
    tree, inputs = grown(depth=3)
    hard = tree.harden()

    def follow(lines: list[str], sample: list[float]) -> str:
        """Read the text as a person would."""
        line = lines.pop(0).strip()
        if not line.startswith("if "):
            return line
        left, bound = line.removeprefix("if ").removesuffix(":").split(" > ")
        parts = [part.split("*[feature ") for part in left.split("] ")]
        total = sum(float(weight) * sample[int(number.rstrip("]"))] for weight, number in parts)
        yes = follow(lines, sample)
        assert lines.pop(0).strip() == "else:"
        no = follow(lines, sample)
        return yes if total > float(bound) else no

    text = as_text(hard.in_full().branches()).splitlines()
    said = [follow(list(text), sample) for sample in inputs.tolist()]
    assert said == [f"class {number}" for number in tree.decide(inputs).tolist()]


def test_the_running_shares_are_saved_and_move_in_training_only() -> None:
    tree = SoftDecisionTree(Fixed(), inputs=4, classes=3, depth=2)
    inputs, logits = torch.randn(8, 4), torch.zeros(8, 3)
    start = tree.share.clone()
    tree.eval().terms(inputs, logits)
    assert torch.equal(tree.share, start)
    tree.train().terms(inputs, logits)
    assert not torch.equal(tree.share, start)
    assert {"share", "reached"} <= set(tree.state_dict())


def test_rule_tree_predicts_what_scikit_learn_does() -> None:
    values, _ = load_iris(return_X_y=True)
    inputs = torch.tensor(values, dtype=torch.float32)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).eval()
    tree = RuleTree(model, inputs=4, classes=3, max_depth=4, min_samples_leaf=2, min_gain=0.0)
    tree.refit([{"inputs": inputs[:90]}, {"inputs": inputs[90:]}])
    with torch.no_grad():
        answers = model(inputs).softmax(dim=1).double().numpy()
    fitted = DecisionTreeRegressor(max_depth=4, min_samples_leaf=2, random_state=0).fit(inputs.numpy(), answers)
    elsewhere = inputs + torch.randn_like(inputs)
    wanted = torch.tensor(fitted.predict(elsewhere.numpy()), dtype=torch.float32)
    torch.testing.assert_close(tree(elsewhere).exp(), wanted, rtol=1e-4, atol=1e-5)
    assert tree.describe()["leaves"] == fitted.get_n_leaves()
    assert tree.describe()["depth"] == fitted.get_depth()


def test_rule_tree_finds_a_rule_and_says_it() -> None:
    tree = RuleTree(Fixed(), 2, 3, feature_names=["$age", "height"], class_names=["a", "b", "c"])
    before = tree(torch.zeros(1, 2))
    torch.testing.assert_close(before.exp(), torch.full((1, 3), 1 / 3))
    assert tree.text() == "a (33%)\n"
    inputs = torch.randn(500, 2)
    loader = [{"inputs": inputs}]
    tree.refit(loader)
    numbers = tree.describe()
    assert (numbers["depth"], numbers["leaves"], numbers["agreement_fitted"]) == (2.0, 3.0, 1.0)
    assert 0.8 < numbers["agreement_perturbed"] <= 1.0
    assert tree.text().splitlines()[0].startswith("if $age <= ")
    tree.refit(loader)
    assert tree.describe()["first_question_kept"] == 1.0
    tree.figure().canvas.draw()


def test_a_rule_trees_attribution_is_the_change_along_the_path() -> None:
    tree = RuleTree(Fixed(), 3, 3)
    tree.refit([{"inputs": torch.randn(500, 3)}])
    inputs, target = torch.tensor([[-1.0, 1.0, 5.0], [1.0, 1.0, 5.0]]), torch.tensor([1, 0])
    attributions = tree.attribute(inputs, target)
    root, leaf = tree.value[0][target], tree(inputs).exp().gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(attributions.sum(dim=1), leaf - root, rtol=0, atol=1e-4)
    # The third input is asked nowhere; the second sample is told apart by its first value alone.
    assert not attributions[:, 2].any()
    assert attributions[1, 1] == 0
    assert bool((attributions[0, :2] > 0).all())


def test_a_fitted_rule_tree_of_any_size_is_loaded() -> None:
    tree, inputs = RuleTree(Fixed(), 4, 3), torch.randn(300, 4)
    tree.refit([{"inputs": inputs}])
    fresh = RuleTree(Fixed(), 4, 3)
    # Inside another module, whose names come first.
    nn.ModuleDict({"explainer": fresh}).load_state_dict(nn.ModuleDict({"explainer": tree}).state_dict())
    assert torch.equal(fresh(inputs), tree(inputs))
    assert fresh.describe() == pytest.approx(tree.describe(), nan_ok=True)


def test_an_empty_loader_and_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="no batch"):
        RuleTree(Fixed(), 4, 3).refit([])
    with pytest.raises(ValueError, match="max_depth"):
        RuleTree(Fixed(), 4, 3, max_depth=0)
    with pytest.raises(ValueError, match="depth 1 to 12"):
        SoftDecisionTree(Fixed(), 4, 3, depth=0)
    with pytest.raises(ValueError, match="sharpness > 0"):
        SoftDecisionTree(Fixed(), 4, 3, sharpness=0.0)
    with pytest.raises(ValueError, match="2 names were given for 4"):
        SoftDecisionTree(Fixed(), 4, 3, feature_names=["a", "b"])
    with pytest.raises(ValueError, match="built for 4 features"):
        SoftDecisionTree(Fixed(), 4, 3)(torch.ones(1, 5))


def test_trees_are_written_and_drawn() -> None:
    root = Branch("x > 1", no=Branch("b"), yes=Branch("y > 2", Branch("a"), Branch("c")))
    assert (root.depth(), root.leaves()) == (2, 3)
    assert as_text(root) == "if x > 1:\n    if y > 2:\n        c\n    else:\n        a\nelse:\n    b\n"
    words = [text.get_text() for text in as_figure(root, "title").axes[0].texts]
    assert {"x > 1", "y > 2", "a", "b", "c"} <= set(words)


def test_a_large_tree_is_drawn_in_part() -> None:
    root = Branch("leaf")
    for _ in range(7):
        root = Branch("x > 1", root, root)
    axes = as_figure(root, "title").axes[0]
    assert sum(text.get_text() == "4 leaves" for text in axes.texts) == 32


def test_the_paper_leaf_loss_bounds_the_mixtures() -> None:
    tree, inputs, logits = SoftDecisionTree(Fixed(), 4, 3, path_loss=1.0), torch.randn(6, 4), torch.randn(6, 3)
    by_leaf = tree.terms(inputs, logits)["path_loss"]
    mixture = kl_div(tree(inputs), log_softmax(logits, dim=1), log_target=True, reduction="batchmean")
    assert by_leaf.item() >= mixture.item()
