"""From what networks see back to what people know, and the numbers that part values in their own units."""

import hashlib
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from torch import Tensor

from kdlab.data.base import SPLITS, DataModule
from kdlab.data.breast_cancer import BreastCancer
from kdlab.data.digits import Digits
from kdlab.data.image_folder import ImageFolder
from kdlab.data.preparation import Preparation, TableColumn
from kdlab.data.table import Table
from kdlab.explainers.reading import reading
from tests.data.made_up import MadeUp, write_image_folder, write_mixed


def standardised(splits: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    return Preparation.standardising(splits).applied(splits)


def test_standardises_by_hand_with_the_training_split() -> None:
    # train column (1, 3): mean 2, standard deviation 1; test value 6 is 4 deviations above.
    splits = {"train": {"inputs": torch.tensor([[1.0], [3.0]])}, "test": {"inputs": torch.tensor([[6.0]])}}
    result = standardised(splits)
    assert result["train"]["inputs"].tolist() == [[-1.0], [1.0]]
    assert result["test"]["inputs"].tolist() == [[4.0]]


def test_images_are_standardised_by_channel_and_tiny_scales_survive() -> None:
    images = torch.randn(50, 2, 4, 4, dtype=torch.float64) * torch.tensor([1e-15, 1e6]).view(1, 2, 1, 1) + 0.0
    inputs = standardised({"train": {"inputs": images}})["train"]["inputs"]
    torch.testing.assert_close(inputs.std(dim=(0, 2, 3), correction=0), torch.ones(2), atol=1e-4, rtol=0)


def test_the_numbers_that_models_see_are_those_of_always() -> None:
    def digest(data: DataModule) -> str:
        data.setup()
        inputs = torch.cat([data.splits[split]["inputs"] for split in SPLITS])
        return hashlib.sha256(inputs.contiguous().view(torch.uint8).numpy().data).hexdigest()[:16]

    # As they were before anything was kept of the preparation.
    assert digest(BreastCancer()) == "0e31a4c7be7a02f5"
    assert digest(Digits()) == "564c0e05cad25a78"


def test_every_module_keeps_the_way_back(tmp_path: Path) -> None:
    cancer, digits = BreastCancer(), Digits()
    for data, raw in ((cancer, load_breast_cancer().data), (digits, load_digits().images[:, None] / 16)):
        data.setup()
        back = torch.cat([data.preparation.undone(data.splits[split]["inputs"]) for split in data.splits])
        one, other = back.double().flatten(1).sum(dim=1).sort().values, torch.from_numpy(raw).flatten(1)
        torch.testing.assert_close(one, other.sum(dim=1).sort().values, rtol=1e-5, atol=1e-4)
    folder = ImageFolder(str(write_image_folder(tmp_path)))
    folder.setup()
    pixels = 255 * folder.preparation.undone(folder.splits["train"]["inputs"])
    torch.testing.assert_close(pixels, pixels.round(), atol=1e-3, rtol=0)
    assert folder.preparation.mean.shape == (3, 32, 32)


def test_columns_have_their_own_names_and_units(tmp_path: Path) -> None:
    data = Table(str(write_mixed(tmp_path / "credit.csv")), target="class")
    data.setup()
    preparation = data.preparation
    names = [preparation.name(column) for column in range(7)]
    assert names[:5] == ["duration", "amount", "housing is for free", "housing is own", "housing is rent"]
    assert names[5:] == ["debtors is guarantor", "debtors is none"]
    assert [preparation.is_level(column) for column in range(7)] == [False, False, True, True, True, True, True]
    assert data.feature_names is not None
    assert data.feature_names[2] == "housing=for free"
    assert preparation.columns is not None
    assert [column.decimals for column in preparation.columns] == [0, 3, 0, 0, 0, 0, 0]
    values = preparation.to_unit(0, data.splits["train"]["inputs"][:, 0])
    torch.testing.assert_close(values, values.round(), atol=1e-4, rtol=0)
    assert {int(value) for value in values.round()} <= set(range(4, 48))


def test_data_that_nobody_prepared_are_read_as_they_are() -> None:
    table, image = MadeUp(shape=(4,), classes=2), MadeUp()
    inputs = torch.randn(3, 4)
    table.setup()
    assert torch.equal(table.preparation.undone(inputs), inputs)
    assert table.preparation.name(2) == "column2"
    assert image.preparation.name(10) == "pixel 1,2"
    assert Preparation.none((1, 2, 5)).name(7) == "pixel 1,2"
    assert Preparation.none((2, 5)).name(7) == "step 2 of channel 1"
    assert Preparation.none((3, 4, 4)).name(17) == "pixel 0,1 of channel 1"
    assert Preparation.none((3,)).name(2) == "feature 2"


def test_other_names_stay_categories_where_they_are_the_columns_own() -> None:
    columns = (TableColumn("age"), TableColumn("colour", "red"))
    preparation = Preparation(torch.zeros(2), torch.ones(2), columns).called(["years", "colour=red"])
    assert [preparation.name(0), preparation.name(1)] == ["years", "colour is red"]
    assert preparation.is_level(1)
    assert not preparation.called(["a", "b"]).is_level(1)


@pytest.mark.parametrize(("mean", "spread"), [(107.26, 33.6), (0.1, 1e-4), (-3e5, 7e6), (0.0, 1.0)])
def test_a_bound_parts_written_values_as_the_prepared_bound_does(mean: float, spread: float) -> None:
    draw = torch.Generator().manual_seed(0)
    kind = torch.float64
    for decimals in (0, 2, 6):
        grid = (torch.randn(400, generator=draw, dtype=kind) * spread + mean).mul(10**decimals).round() / 10**decimals
        preparation = Preparation(
            torch.tensor([mean], dtype=kind), torch.tensor([spread], dtype=kind), (TableColumn("x", None, decimals),)
        )
        prepared = preparation(grid[:, None])[:, 0]
        # Bounds between values, as scikit-learn takes them, and at values.
        bounds = [*((prepared[:40] + prepared[40:80]).double() / 2).tolist(), *prepared[80:120].double().tolist()]
        for bound in bounds:
            text = preparation.at_most(0, bound)
            assert torch.equal(grid <= float(text), prepared.double() <= bound)
            assert len(text.partition(".")[2]) <= decimals


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_without_known_decimals_every_number_is_parted_rightly(kind: torch.dtype) -> None:
    preparation = Preparation(torch.tensor([0.3], dtype=kind), torch.tensor([1.7], dtype=kind))
    for bound in (-2.5, -1e-9, 0.0, 0.119, 3.0):
        limit = float(preparation.at_most(0, bound))
        near = torch.tensor([limit], dtype=kind)
        steps = [near]
        for _ in range(40):
            steps = [torch.nextafter(steps[0], near - 1), *steps, torch.nextafter(steps[-1], near + 1)]
        values = torch.cat(steps)
        assert torch.equal(values.double() <= limit, preparation(values[:, None])[:, 0].double() <= bound)


def test_the_shortest_number_is_printed() -> None:
    one = torch.ones(1, dtype=torch.float64)
    counted = Preparation(0 * one, one, (TableColumn("x", None, 2),))
    assert counted.at_most(0, 103.2999) == "103.29"
    assert counted.at_most(0, 103.305) == "103.3"
    assert counted.at_most(0, 1234.0) == "1234"
    assert counted.at_most(0, -0.001) == "-0.01"
    assert counted.at_most(0, 0.001) == "0"


def test_every_shipped_module_has_a_preparation_of_its_shape() -> None:
    modules: list[DataModule] = [BreastCancer(), Digits(), MadeUp(shape=(2, 32))]
    for data in modules:
        assert data.preparation.mean.shape == data.shape
        assert data.preparation.spread.shape == data.shape


def test_names_of_channels_stand_behind_their_steps() -> None:
    class Heart(MadeUp):
        def load(self) -> dict[str, dict[str, Tensor]]:
            self.feature_names = ["pulse", "breath"]
            return self.standardised(super().load())

    data = Heart(shape=(2, 5), classes=2)
    assert [data.preparation.name(column) for column in (3, 7)] == ["step 3 of pulse", "step 2 of breath"]
    assert reading(10, data.feature_names, data.preparation).name(9) == "step 4 of breath"
