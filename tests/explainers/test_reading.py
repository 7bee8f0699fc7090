"""What a person reads of an explainer, followed by a program on the columns as they stand in the file."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib.axes
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from kdlab.data.base import SPLITS, DataModule
from kdlab.data.breast_cancer import BreastCancer
from kdlab.data.digits import Digits
from kdlab.data.preparation import Preparation, TableColumn
from kdlab.data.table import Table
from kdlab.explainers.additive_network import AdditiveNetwork
from kdlab.explainers.hard_tree import HardTree
from kdlab.explainers.reading import reading
from kdlab.explainers.rule_tree import RuleTree
from kdlab.explainers.soft_decision_tree import SoftDecisionTree
from kdlab.explainers.tree_regularisation import TreeRegularisation
from kdlab.models.mlp import MLP
from tests.data.made_up import write_mixed

Row = Mapping[str, str]


def value(name: str, row: Row) -> float:
    """A column's number, or 1 where the row's category is the one named."""
    column, _, level = name.partition(" is ")
    return float(row[column] == level) if level else float(row[name])


def holds(question: str, row: Row) -> bool:
    """Answer a question as a person would, from the cells of the row."""
    if " <= " not in question and " > " not in question and " < " not in question:
        return value(question, row) == 1.0
    sign = next(sign for sign in (" <= ", " > ", " < ") if sign in question)
    left, bound = question.rsplit(sign, 1)
    if "*[" in left:
        parts = [part.split("*[") for part in left.rstrip("]").split("] ")]
        found = sum(float(weight) * value(name, row) for weight, name in parts)
    else:
        found = value(left, row)
    return {" <= ": found <= float(bound), " > ": found > float(bound), " < ": found < float(bound)}[sign]


def follow(text: str, row: Row) -> str:
    """Read the rules of a text down to a leaf."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    depth, number = 0, 0
    while lines[number].strip().startswith("if "):
        line = lines[number]
        assert line.startswith("    " * depth + "if ")
        if not holds(line.strip().removeprefix("if ").removesuffix(":"), row):
            number = lines.index("    " * depth + "else:", number)
        number, depth = number + 1, depth + 1
    return lines[number].strip()


def cancer(_: Path) -> tuple[DataModule, list[Row]]:
    table = load_breast_cancer()
    names = [str(name) for name in table.feature_names]
    return BreastCancer(), [dict(zip(names, map(repr, map(float, row)), strict=True)) for row in table.data]


def credit(folder: Path) -> tuple[DataModule, list[Row]]:
    file = write_mixed(folder / "credit.csv", rows=300)
    with file.open(newline="") as stream:
        return Table(str(file), target="class"), list(csv.DictReader(stream))


def prepared(data: DataModule, rows: list[Row]) -> Tensor:
    """Inputs of rows in the file's order, standardised here once more from the cells."""
    data.setup()
    preparation = data.preparation
    names = [preparation.name(column) for column in range(preparation.mean.numel())]
    values = torch.tensor([[value(name, row) for name in names] for row in rows], dtype=torch.float64)
    inputs = preparation(values)
    seen = torch.cat([data.splits[split]["inputs"] for split in SPLITS])
    # The very numbers that the networks saw, in another order.
    assert sorted(map(tuple, inputs.tolist())) == sorted(map(tuple, seen.tolist()))
    return inputs


def trained(data: DataModule, steps: int = 60) -> nn.Module:
    data.setup()
    train = data.splits["train"]
    model = MLP(data.preparation.mean.numel(), data.classes, hidden=[8])
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(cross_entropy(model(train["inputs"]), train["target"]))
        optimizer.step()
    return model.eval()


TABLES: dict[str, Callable[[Path], tuple[DataModule, list[Row]]]] = {"breast cancer": cancer, "credit": credit}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("kind", [RuleTree, TreeRegularisation])
def test_who_follows_the_rules_from_the_raw_columns_ends_where_the_tree_does(
    table: str, kind: type[RuleTree], tmp_path: Path
) -> None:
    data, rows = TABLES[table](tmp_path)
    inputs = prepared(data, rows)
    tree = kind(
        trained(data), inputs.shape[1], 2, min_gain=0.0, class_names=data.class_names, preparation=data.preparation
    )
    # Not the penalised kind's copies, which do not matter here.
    RuleTree.learn(tree, data.splits["train"]["inputs"], torch.rand(len(data.splits["train"]["inputs"]), 2))
    assert tree.describe()["leaves"] > 15
    shares = tree.value[tree.path(inputs)[:, -1]]
    wanted = [f"{data.class_names[int(one.argmax())]} ({float(one.max()):.0%})" for one in shares]
    text = tree.text()
    assert [follow(text, row) for row in rows] == wanted
    drawn = {text.get_text().replace("\n", " ") for text in tree.figure().axes[0].texts}
    assert all(line.strip()[3:-1] in drawn for line in text.splitlines() if line.strip().startswith("if "))


def test_the_breast_cancer_rules_speak_of_millimetres_and_not_of_deviations() -> None:
    data = BreastCancer()
    tree = RuleTree(trained(data), 30, 2, max_depth=1, class_names=data.class_names, preparation=data.preparation)
    tree.refit([{"inputs": data.splits["train"]["inputs"]}])
    name, bound = tree.text().splitlines()[0].removeprefix("if ").removesuffix(":").split(" <= ")
    table = load_breast_cancer()
    column = table.data[:, [str(one) for one in table.feature_names].index(name)]
    assert column.min() < float(bound) < column.max()
    # 0.119 deviations below the mean: a perimeter of 103.25 is still below, one of 103.26 no more.
    assert f"{data.preparation.name(22)} <= {data.preparation.at_most(22, -0.119)}" == "worst perimeter <= 103.25"


def test_a_category_is_asked_by_name_and_yes_means_that_it_holds() -> None:
    columns = (TableColumn("age", None, 0), TableColumn("colour", "red", 0))
    tree = RuleTree(
        nn.Linear(2, 2), 2, 2, class_names=["a", "b"], preparation=Preparation(torch.zeros(2), torch.ones(2), columns)
    )
    inputs = torch.tensor([[1.0, 0.0], [2.0, 1.0]]).repeat(20, 1)
    tree.learn(inputs, torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(20, 1).index_select(1, torch.tensor([0, 1])))
    assert tree.text() in (
        "if colour is red:\n    b (100%)\nelse:\n    a (100%)\n",
        "if age <= 1:\n    a (100%)\nelse:\n    b (100%)\n",
    )
    tree.learn(inputs * torch.tensor([0.0, 1.0]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(20, 1))
    assert tree.text() == "if colour is red:\n    b (100%)\nelse:\n    a (100%)\n"


# The soft tree


def imitated(data: DataModule, depth: int, steps: int) -> SoftDecisionTree:
    model = trained(data, 100)
    inputs = data.splits["train"]["inputs"]
    tree = SoftDecisionTree(
        model, inputs[0].numel(), data.classes, depth, class_names=data.class_names, preparation=data.preparation
    )
    logits = model(inputs).detach()
    optimizer = torch.optim.Adam(tree.parameters(), 0.03)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = kl_div(tree(inputs), logits.log_softmax(dim=1), log_target=True, reduction="batchmean")
        torch.autograd.backward([loss, *tree.terms(inputs, logits).values()])
        optimizer.step()
    return tree.eval()


@pytest.mark.parametrize("table", TABLES)
def test_the_soft_trees_text_agrees_as_often_as_its_first_line_says(table: str, tmp_path: Path) -> None:
    data, rows = TABLES[table](tmp_path)
    inputs = prepared(data, rows)
    tree = imitated(data, depth=3, steps=100)
    parts = {"training": data.splits["train"]["inputs"], "validation": data.splits["val"]["inputs"]}
    tree.write(parts)
    text = tree.text()
    place = {tuple(one): row for one, row in zip(inputs.tolist(), rows, strict=True)}
    said = []
    for name, part in parts.items():
        decided = [data.class_names[number] for number in tree(part).argmax(dim=1).tolist()]
        followed = [follow(text, place[tuple(one)]) for one in part.tolist()]
        share = sum(one == other for one, other in zip(decided, followed, strict=True)) / len(part)
        said.append(f"{share:.1%} of {len(part)} {name} samples")
        assert share >= (0.95 if name == "training" else 0.85)
    assert text.splitlines()[0] == f"# agrees with the tree on {said[0]} and {said[1]}"
    questions = [line for line in text.splitlines() if line.strip().startswith("if ")]
    assert questions
    assert max(line.count("*[") for line in questions) <= 12
    assert said[0] in tree.figure().axes[0].get_title().replace("\n", " ")


def test_a_soft_tree_of_many_pixels_is_written_in_few_words() -> None:
    data = Digits()
    tree = imitated(data, depth=4, steps=150)
    tree.write({"training": data.probe(1000, "train")["inputs"], "validation": data.probe(300)["inputs"]})
    first, *lines = tree.text().splitlines()
    shares = [float(word.removesuffix("%")) for word in first.split() if word.endswith("%")]
    assert shares[0] >= 90.0
    assert shares[1] >= 85.0
    assert all(line.count("*[pixel ") <= 12 for line in lines)


@pytest.mark.parametrize("table", TABLES)
def test_unwritten_the_soft_tree_is_told_in_full_and_decides_as_its_turns_do(table: str, tmp_path: Path) -> None:
    data, rows = TABLES[table](tmp_path)
    inputs = prepared(data, rows)
    tree = imitated(data, depth=3, steps=30)
    text = tree.text()
    assert text.startswith("# every question in full")
    decided = [data.class_names[number] for number in tree.decide(inputs).tolist()]
    assert [follow(text, row) for row in rows] == decided


def test_a_written_question_of_one_category_may_be_turned_round() -> None:
    columns = (TableColumn("age", None, 0), TableColumn("colour", "red", 0))
    read = Preparation(torch.zeros(2), torch.ones(2), columns)
    for weight, leaves in ((-2.0, ("a", "b")), (2.0, ("b", "a"))):
        weights, bias = torch.tensor([[0.0, weight]]), torch.tensor([-weight / 2])
        hard = HardTree(weights, bias, torch.tensor([1, 0]), 1, read, ["a", "b"])
        inputs = torch.tensor([[3.0, 1.0], [1.0, 0.0]]).repeat(8, 1)
        assert hard.in_full().predict(inputs).tolist() == hard.predict(inputs).tolist()
        tree = SoftDecisionTree(nn.Linear(2, 2), 2, 2, depth=1, class_names=["a", "b"], preparation=read).eval()
        with torch.no_grad():
            tree.gates.weight.copy_(weights)
            tree.gates.bias.copy_(bias)
            tree.leaves.copy_(torch.tensor([[0.0, 9.0], [9.0, 0.0]]))
        tree.write({"training": inputs * torch.tensor([0.0, 1.0])})
        yes, no = leaves[1], leaves[0]
        assert tree.text().splitlines()[1:] == ["if colour is red:", f"    {yes}", "else:", f"    {no}"]
        assert "100.0% of 16 training samples" in tree.text()


# The additive network


def test_shape_functions_are_drawn_over_the_columns_own_range() -> None:
    data = BreastCancer()
    data.setup()
    inputs = data.splits["train"]["inputs"]
    explainer = AdditiveNetwork(trained(data, 5), 30, 2, hidden=4, interactions=1, preparation=data.preparation)
    explainer.train().terms(inputs)
    explainer.refit([{"inputs": inputs[:60]}])
    raw = data.preparation.undone(inputs)
    *curves, heat, _ = explainer.figure().axes
    by_name = {str(name): column for column, name in enumerate(data.feature_names or [])}
    drawn = [ranges(axes) for axes in curves]
    assert len(drawn) == 12
    for axes, (low, high) in zip(curves, drawn, strict=True):
        column = raw[:, by_name[axes.get_title()]]
        assert low == pytest.approx(float(column.min()), rel=1e-4, abs=1e-6)
        assert high == pytest.approx(float(column.max()), rel=1e-4)
    for name, limits in ((heat.get_xlabel(), heat.get_xlim()), (heat.get_ylabel(), heat.get_ylim())):
        column = raw[:, by_name[name]]
        assert float(column.min()) == pytest.approx(limits[0], abs=0.05 * float(column.max() - column.min()))
        assert float(column.max()) == pytest.approx(limits[1], abs=0.05 * float(column.max() - column.min()))
    first, second = explainer.text().splitlines()[-1].split("  ", 2)[2].split(" & ")
    assert {first, second} <= by_name.keys()


def ranges(axes: matplotlib.axes.Axes) -> tuple[float, float]:
    values = axes.get_lines()[0].get_xdata()
    return float(min(values)), float(max(values))  # type: ignore[arg-type]  # matplotlib calls them any array


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="2 names were given for 3"):
        reading(3, ["a", "b"], None)
    with pytest.raises(ValueError, match=r"built for 3 values, the data's inputs \(2, 4\) have 8; set inputs to that"):
        RuleTree(nn.Linear(3, 2), 3, 2, preparation=Preparation.none((2, 4)))
