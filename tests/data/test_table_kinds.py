"""Dates, many levels, groups and Parquet."""

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from kdlab.data.table import Table
from kdlab.data.tabular.rows import limited
from tests.data.made_up import write_csv, write_mixed

SPLITS = ("train", "val", "test")


def dated(folder: Path, dates: list[str]) -> Table:
    """Rows whose split follows their number: train, train, val, test."""
    parts = ["train", "train", "val", "test"]
    rows = [[cell, parts[row % 4], "ab"[row // 4 % 2]] for row, cell in enumerate(dates)]
    return Table(str(write_csv(folder / "t.csv", [["opened", "part", "kind"], *rows])), "kind", split="part")


def days(data: Table) -> dict[str, list[float]]:
    data.setup()
    return {
        split: data.preparation.to_unit(0, data.splits[split]["inputs"][:2, 0]).round(decimals=3).tolist()
        for split in SPLITS
    }


@pytest.mark.parametrize(
    "dates",
    [
        ["2020-03-01", "2020-03-31", "2020-02-29", "2021-03-01"],
        ["2020/03/01", "2020/3/31", "2020/2/29", "2021/03/01"],
        ["01.03.2020", "31.03.2020", "29.02.2020", "1.3.2021"],
        ["3/1/2020", "3/31/2020", "2/29/2020", "03/01/2021"],
        ["01/03/2020", "31/03/2020", "29/02/2020", "01/03/2021"],
        ["2020-03-01 00:00:00", "2020-03-31T00:00:00", "2020-02-29 00:00", "2021-03-01 00:00"],
    ],
)
def test_dates_are_days_since_the_first_of_training(tmp_path: Path, dates: list[str]) -> None:
    data = dated(tmp_path, dates * 6)
    expected = {"train": [0.0, 30.0], "val": [-1.0, -1.0], "test": [365.0, 365.0]}
    assert days(data) == expected
    assert data.feature_names == ["opened (days since 2020-03-01)"]


def test_the_time_of_day_is_a_part_of_a_day(tmp_path: Path) -> None:
    data = dated(tmp_path, ["01.03.2020 12:00", "2.3.2020 18:00:36", "01.03.2020 6:00", "01.03.2020 00:00"] * 6)
    assert days(data) == {"train": [0.5, 1.75], "val": [0.25, 0.25], "test": [0.0, 0.0]}


def test_a_date_whose_day_and_month_cannot_be_told_is_asked_about(tmp_path: Path) -> None:
    data = dated(tmp_path, ["3/1/2020", "4/1/2020", "5/1/2020", "6/1/2020"] * 6)
    with pytest.raises(ValueError, match=r"column 'opened' holds 3/1/2020, which may begin with the day or the month"):
        data.setup()
    # Since 3 January: 4, 5 and 6 January; since 1 March: 1 April, May and June.
    assert days(Table(data.path, "kind", split="part", day_first=False))["test"] == [92.0, 92.0]
    assert days(Table(data.path, "kind", split="part", day_first=True))["test"] == [3.0, 3.0]


def test_a_cell_that_is_no_date_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'opened' holds dates but for 1 cells, the first 'soon' in .*t.csv, line 26"):
        dated(tmp_path, ["01.03.2020", "31.03.2020", "29.02.2020", "1.3.2021"] * 6 + ["soon"]).setup()


@pytest.mark.parametrize(
    ("dates", "message"),
    [
        (["2020/01/02", "02.01.2020"], "holds dates that begin with the year and others that end with it"),
        (["31.02.2020", "01.01.2020"], r"holds dates, but one that no calendar has \(.*2020-02-31.*\); correct it"),
    ],
)
def test_dates_that_do_not_fit_together_are_refused(tmp_path: Path, dates: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        dated(tmp_path, dates * 12).setup()
    assert "\n" not in str(raised.value)


def test_a_missing_date_is_the_training_median(tmp_path: Path) -> None:
    data = dated(tmp_path, ["2020-03-01", "NA", "", "2021-03-01"] * 6)
    assert days(data)["train"] == [0.0, 0.0]
    assert data.feature_names == ["opened (days since 2020-03-01)", "opened (days since 2020-03-01)=missing"]
    assert data.preparation.groups == [0, 0]


def test_of_many_levels_the_rare_ones_are_one(tmp_path: Path) -> None:
    rows = [[f"t{row % 10}" if row % 2 else f"rare {row % 5000}", "ab"[row // 2 % 2]] for row in range(12_000)]
    data = Table(str(write_csv(tmp_path / "t.csv", [["town", "kind"], *rows])), "kind", levels=6)
    data.setup()
    assert data.feature_names == ["town=t1", "town=t3", "town=t5", "town=t7", "town=t9", "town=other"]
    train = data.splits["train"]["inputs"]
    assert (train.sum(1) == 1).all()
    assert float(train[:, 5].mean()) == pytest.approx(0.5, abs=0.03)
    assert len(data.remarks) == 1
    assert "different texts: the 5 most frequent are levels, the others, 50% of the training rows" in data.remarks[0]


def test_texts_that_hardly_repeat_are_left_out(tmp_path: Path) -> None:
    rows = [[f"text {row if row % 10 else 0}", row / 7, "ab"[row % 2]] for row in range(100)]
    data = Table(str(write_csv(tmp_path / "t.csv", [["words", "x", "kind"], *rows])), "kind")
    data.setup()
    assert data.feature_names == ["x"]
    assert data.remarks == [
        "column 'words' is left out: 91 different texts in 100 rows are no categories; categorical or numbers keeps it"
    ]


def test_inputs_of_one_column_are_a_group(tmp_path: Path) -> None:
    data = Table(str(write_mixed(tmp_path / "credit.csv")), "class")
    assert data.preparation.groups == [0, 1, 2, 2, 2, 3, 3]


def patients(folder: Path) -> Path:
    """40 patients of 1 to 7 visits each, whose number is their measurement."""
    rows = [
        [f"p{patient}", patient / 8, "sick" if patient % 4 == 0 else "well"]
        for patient in range(40)
        for _ in range(patient % 7 + 1)
    ]
    return write_csv(folder / "visits.csv", [["patient", "x", "state"], *rows])


@pytest.mark.parametrize("seed", range(5))
def test_a_group_is_in_one_split(tmp_path: Path, seed: int) -> None:
    data = Table(str(patients(tmp_path)), "state", group="patient", split_seed=seed)
    data.setup()
    people = {split: set(tensors["groups"].tolist()) for split, tensors in data.splits.items()}
    assert sum(map(len, people.values())) == len(set.union(*people.values())) == 40
    sizes = [len(data.splits[split]["target"]) for split in SPLITS]
    assert sum(sizes) == 155
    assert sizes == pytest.approx([93, 31, 31], abs=7)
    assert all(0 < tensors["target"].float().mean() < 1 for tensors in data.splits.values())
    # The very rows of the very people.
    for tensors in data.splits.values():
        of_person = {
            group: data.preparation.to_unit(0, tensors["inputs"][tensors["groups"] == group, 0]).unique(dim=0)
            for group in set(tensors["groups"].tolist())
        }
        assert all(len(values) == 1 for values in of_person.values())
    assert data.feature_names == ["x"]


def test_the_validation_split_is_drawn_by_groups_too_where_a_file_is_the_test(tmp_path: Path) -> None:
    rows = [["new", 1.5, "sick"], ["newer", 2.5, "well"]]
    other = write_csv(tmp_path / "other.csv", [["patient", "x", "state"], *rows])
    data = Table(str(patients(tmp_path)), "state", group="patient", test_path=str(other))
    data.setup()
    people = {split: set(tensors["groups"].tolist()) for split, tensors in data.splits.items()}
    assert len(people["test"]) == 2
    assert not people["train"] & people["val"]


def test_a_group_that_the_split_column_parts_is_refused(tmp_path: Path) -> None:
    rows = [[f"p{row // 4}", row / 7, ["train", "train", "val", "test"][row % 4], "ab"[row % 2]] for row in range(40)]
    path = write_csv(tmp_path / "t.csv", [["patient", "x", "part", "kind"], *rows])
    with pytest.raises(ValueError, match="'p0' of column 'patient' has rows in train and in val; a group is in one"):
        Table(str(path), "kind", split="part", group="patient").setup()


def test_too_few_groups_are_refused(tmp_path: Path) -> None:
    rows = [[f"p{row % 2}", row / 7, "ab"[row % 3 % 2]] for row in range(40)]
    path = write_csv(tmp_path / "t.csv", [["patient", "x", "kind"], *rows])
    with pytest.raises(ValueError, match="2 groups in 40 rows are too few or too large for 3 splits"):
        Table(str(path), "kind", group="patient").setup()


def as_parquet(folder: Path) -> Path:
    """The mixed table with typed columns, a missing number, dates and a dictionary."""
    rows = range(60)
    columns = {
        "age": pa.array([None if row % 10 == 0 else row / 4 for row in rows]),
        "born": pa.array([86_400_000_000 * row for row in rows], pa.timestamp("us")),
        "town": pa.array([["Bonn", "Rom"][row % 2] for row in rows]).dictionary_encode(),
        "member": pa.array([row % 3 == 0 for row in rows]),
        "price": pa.array([row % 7 for row in rows]).cast(pa.decimal128(22, 2)),
        "kind": pa.array([row // 2 % 2 for row in rows], pa.int8()),
    }
    pq.write_table(pa.table(columns), folder / "t.parquet")
    return folder / "t.parquet"


def test_parquet_columns_have_their_types(tmp_path: Path) -> None:
    data = Table(str(as_parquet(tmp_path)), "kind")
    data.setup()
    assert data.feature_names is not None
    assert [name.partition(" (")[0] for name in data.feature_names] == [
        "age", "age=missing", "born", "town=Bonn", "town=Rom", "member=true", "price",
    ]  # fmt: skip
    assert data.class_names == ["0", "1"]
    price = torch.cat([data.splits[split]["inputs"][:, 6] for split in SPLITS])
    assert sorted(data.preparation.to_unit(6, price).round().unique().tolist()) == list(range(7))


def test_parquet_and_csv_of_one_content_are_one_table(tmp_path: Path) -> None:
    mixed = write_mixed(tmp_path / "credit.csv")
    with mixed.open(newline="") as stream:
        header, *rows = list(csv.reader(stream))
    cells = dict(zip(header, zip(*rows, strict=True), strict=True))
    typed = {name: list(map({"duration": int, "amount": float}.get(name, str), cells[name])) for name in header}
    pq.write_table(pa.table(typed), tmp_path / "credit.parquet")
    hashes = {Table(str(tmp_path / f"credit.{ending}"), "class").content_hash() for ending in ("csv", "parquet")}
    assert len(hashes) == 1


def test_a_parquet_file_says_rows_in_its_refusals(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1.5, float("inf")] * 10, "kind": list("ab") * 10}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"'x' has 10 infinite values, the first in .*t.parquet, row 2"):
        Table(str(tmp_path / "t.parquet"), "kind").setup()
    pq.write_table(pa.table({"x": [[1.5], [2.5]], "kind": ["a", "b"]}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"t.parquet: column 'x' holds list<.*>, not one value a row"):
        Table(str(tmp_path / "t.parquet"), "kind").setup()
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ValueError, match=r"t.parquet is a damaged Parquet file"):
        Table(str(tmp_path / "t.parquet"), "kind").setup()


@pytest.mark.parametrize(("limit", "sizes"), [(3, [2, 1, 1]), (20, [12, 4, 4]), (1000, [72, 24, 24])])
def test_a_limit_keeps_each_split_and_class_in_its_proportion(limit: int, sizes: list[int], tmp_path: Path) -> None:
    data = Table(str(write_mixed(tmp_path / "credit.csv")), "class", limit=limit)
    data.setup()
    assert [len(data.splits[split]["target"]) for split in SPLITS] == sizes
    if limit == 20:
        assert data.splits["train"]["target"].bincount().tolist() == [4, 8]


def test_no_split_is_emptied_by_a_limit(tmp_path: Path) -> None:
    rows = {"train": torch.arange(90), "val": torch.arange(90, 95), "test": torch.arange(95, 100)}
    kept = limited(rows, torch.arange(100) % 2, 3, seed=0)
    assert [len(kept[split]) for split in SPLITS] == [3, 1, 1]
