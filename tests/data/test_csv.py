from pathlib import Path
from typing import Any

import pytest
import torch

from kdlab.data.csv import Csv
from tests.data.made_up import write_csv, write_mixed

HEADER = ["size", "colour", "kind"]
ROWS = [[row, ["red", "none", "NA"][row % 3], ["no", "yes"][row % 2]] for row in range(30)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "table.csv", [HEADER, *ROWS])


def test_numbers_are_standardised_and_categories_one_hot(file: Path) -> None:
    data = Csv(str(file), target="kind", batch_size=4)
    data.setup()
    assert data.feature_names == ["size", "colour=NA", "colour=none", "colour=red"]
    assert data.class_names == ["no", "yes"]
    train = data.splits["train"]["inputs"]
    torch.testing.assert_close(train[:, 0].mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    assert train[:, 1:].unique().tolist() == [0.0, 1.0]
    assert (train[:, 1:].sum(1) == 1).all()
    torch.testing.assert_close(data.baseline, train.mean(0))


def rows_of(data: Csv) -> dict[str, list[int]]:
    """Which rows of the file each split holds, by the number in their column ``size``; targets must be theirs."""
    data.setup()
    assert data.feature_names is not None
    place, found = data.feature_names.index("size"), {}
    for split, tensors in data.splits.items():
        rows = data.preparation.to_unit(place, tensors["inputs"][:, place]).round().long()
        assert torch.equal(tensors["target"], rows % 2)
        found[split] = rows.tolist()
    return found


def test_every_row_is_in_one_split(file: Path) -> None:
    rows = rows_of(Csv(str(file), target="kind", fractions=(0.5, 0.2, 0.3)))
    assert [len(rows[split]) for split in ("train", "val", "test")] == [15, 6, 9]
    assert sorted(rows["train"] + rows["val"] + rows["test"]) == list(range(30))
    # Drawn, and stratified.
    assert rows["train"] != list(range(15))
    assert sum(row % 2 for row in rows["val"]) == 3


def test_a_column_may_name_the_split(tmp_path: Path) -> None:
    words = ["test", "train", "train", "Validation", "train"] * 6
    lines = [[*row, word] for row, word in zip(ROWS, words, strict=True)]
    data = Csv(str(write_csv(tmp_path / "t.csv", [[*HEADER, "part"], *lines])), target="kind", split="part")
    named = {"train": "train", "val": "Validation", "test": "test"}
    assert rows_of(data) == {split: [row for row in range(30) if words[row] == word] for split, word in named.items()}
    assert data.feature_names is not None
    assert not any("part" in name for name in data.feature_names)


@pytest.mark.parametrize("seed", range(3))
def test_val_is_drawn_from_train_where_the_column_names_none(tmp_path: Path, seed: int) -> None:
    words = ["train", "test", "train", "train", "train"] * 6
    lines = [[*row, word] for row, word in zip(ROWS, words, strict=True)]
    file = write_csv(tmp_path / "t.csv", [[*HEADER, "part"], *lines])
    rows = rows_of(Csv(str(file), target="kind", split="part", split_seed=seed))
    # No row of test leaks into val, and none is lost or doubled.
    assert rows["test"] == [row for row in range(30) if words[row] == "test"]
    assert [len(rows[split]) for split in ("train", "val", "test")] == [18, 6, 6]
    assert sorted(rows["train"] + rows["val"]) == [row for row in range(30) if words[row] == "train"]


def test_a_second_file_may_be_the_test_split(file: Path, tmp_path: Path) -> None:
    other = write_csv(tmp_path / "test.csv", [HEADER, [99, "blue", "yes"], [98, "red", "no"]])
    data = Csv(str(file), target="kind", test_path=str(other))
    rows = rows_of(data)
    assert rows["test"] == [99, 98]
    assert [len(rows[split]) for split in ("train", "val")] == [22, 8]
    assert sorted(rows["train"] + rows["val"]) == list(range(30))
    assert data.feature_names is not None
    assert "colour=blue" in data.feature_names


def test_numbers_may_be_read_as_categories_and_columns_left_out(file: Path) -> None:
    data = Csv(str(file), target="kind", categorical=["size"], ignore=["colour"])
    data.setup()
    assert data.feature_names == [f"size={text}" for text in sorted(str(row) for row in range(30))]


def test_a_code_with_an_underscore_is_no_number(tmp_path: Path) -> None:
    rows = [[["1_0", "2_0"][row % 2], row % 2] for row in range(30)]
    data = Csv(str(write_csv(tmp_path / "t.csv", [["code", "label"], *rows])), target="label")
    data.setup()
    assert data.feature_names == ["code=1_0", "code=2_0"]


def test_numeric_classes_are_sorted_as_numbers(tmp_path: Path) -> None:
    rows = [[row, [2, 10, 9][row % 3]] for row in range(30)]
    data = Csv(str(write_csv(tmp_path / "t.csv", [["x", "label"], *rows])), target="label")
    data.setup()
    assert data.class_names == ["2", "9", "10"]


def test_spreadsheet_marks_blanks_and_semicolons_are_read(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    lines = [f" {row} ; {'ab'[row % 2]}" for row in range(20)]
    file.write_text("\n".join(["x ; label", *lines, ""]), encoding="utf-8-sig")
    data = Csv(str(file), target="label", delimiter=";")
    data.setup()
    assert (data.feature_names, data.class_names) == (["x"], ["a", "b"])


def test_a_constant_column_is_only_centred(tmp_path: Path) -> None:
    rows = [[0.1, row, row % 2] for row in range(30)]
    data = Csv(str(write_csv(tmp_path / "t.csv", [["same", "x", "label"], *rows])), target="label")
    data.setup()
    assert data.splits["test"]["inputs"][:, 0].abs().max() < 1e-6


WRONG: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "target": (
        [HEADER, *ROWS],
        {"target": "sort"},
        r"no column 'sort' \(target\); it has \['size', 'colour', 'kind'\]",
    ),
    "ignore": ([HEADER, *ROWS], {"ignore": ["x"]}, r"no column 'x' \(ignore\)"),
    "split": ([HEADER, *ROWS], {"split": "colour"}, "'colour' says .'NA', 'none', 'red'."),
    "empty": ([HEADER, *ROWS, ["", "red", "no"]], {}, "'size' has 1 missing .*line 32"),
    "NaN": ([HEADER, *ROWS, ["nan", "red", "no"]], {}, "'size' has 1 missing .*'nan'.*line 32"),
    "empty text": ([HEADER, *ROWS, [3, "", "no"]], {}, "'colour' has 1 missing"),
    "empty target": ([HEADER, *ROWS, [3, "red", ""]], {}, "'kind' has 1 missing"),
    "mixed": (
        [HEADER, *ROWS, ["?", "red", "no"]],
        {},
        r"'size' holds numbers but for 1 cells, the first '\?'.*line 32",
    ),
    "ragged": ([HEADER, *ROWS, [3, "red"]], {}, "line 32: 2 cells under a header of 3"),
    "nothing left": ([HEADER, *ROWS], {"ignore": ["size", "colour"]}, "no column left to learn from"),
    "no rows": ([HEADER], {}, "no rows below its header"),
    "twice": ([[*HEADER, "size"], *[[*row, 1] for row in ROWS]], {}, "'size'. twice"),
    "fractional target": (
        [["x", "kind"], *[[row, row / 7] for row in range(30)]],
        {},
        "fractional numbers; kdlab classifies",
    ),
    "many classes": ([["x", "kind"], *[[1, f"k{row}"] for row in range(200)]], {}, "200 different values in 200 rows"),
    "many levels": ([HEADER, *[[1, f"t{row}", row % 2] for row in range(200)]], {}, "200 different texts"),
}


@pytest.mark.parametrize("name", WRONG)
def test_refuses_in_one_line(name: str, tmp_path: Path) -> None:
    lines, arguments, message = WRONG[name]
    file = write_csv(tmp_path / "table.csv", lines)
    with pytest.raises(ValueError, match=message) as raised:
        Csv(**{"path": str(file), "target": "kind", **arguments}).setup()
    assert "\n" not in str(raised.value)


def test_refuses_another_encoding(tmp_path: Path) -> None:
    file = tmp_path / "latin.csv"
    file.write_bytes("x,kind\n1,grün\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin.csv is not a CSV file in UTF-8"):
        Csv(str(file), target="kind").setup()


def test_refuses_contradictions_in_the_constructor() -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        Csv("t.csv", target="kind", fractions=(0.6, 0.2, 0.1))
    with pytest.raises(ValueError, match="both say what the test rows are"):
        Csv("t.csv", target="kind", split="part", test_path="u.csv")


def test_a_test_file_of_other_columns_is_refused(file: Path, tmp_path: Path) -> None:
    other = write_csv(tmp_path / "test.csv", [["size", "kind"], [1, "yes"]])
    with pytest.raises(ValueError, match="differ in the columns"):
        Csv(str(file), target="kind", test_path=str(other)).setup()


def test_paths_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mixed(tmp_path / "credit.csv")
    monkeypatch.setenv("MY_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    hashes = {
        Csv(path, target="class").content_hash()
        for path in ("${MY_DATA}/credit.csv", "$MY_DATA/credit.csv", "credit.csv")
    }
    assert len(hashes) == 1


def test_an_unset_variable_and_a_missing_file_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_DATA", raising=False)
    with pytest.raises(ValueError, match="needs the environment variable MY_DATA, which is not set"):
        Csv("${MY_DATA}/credit.csv", target="class").setup()
    with pytest.raises(FileNotFoundError, match=r"no file or folder /.*/nowhere.csv \(written nowhere.csv\)"):
        Csv("nowhere.csv", target="class").setup()
