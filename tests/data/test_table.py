"""Tables as people have them: what each trap becomes, and the one line that refuses the rest."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from kdlab.data.table import Table
from tests.data.made_up import write_csv, write_mixed

HEADER = ["size", "colour", "kind"]
ROWS = [[row, ["red", "none", "blue"][row % 3], ["no", "yes"][row % 2]] for row in range(30)]
SPLITS = ("train", "val", "test")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "table.csv", [HEADER, *ROWS])


def table(path: Path | str, target: str = "kind", **arguments: Any) -> Table:
    """The table, read; ``size`` is all different whole numbers."""
    data = Table(str(path), target, **arguments)
    data.setup()
    return data


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "table.csv"
    path.write_bytes(text.encode(encoding))
    return path


def lines_of(cells: Sequence[str], name: str = "x", delimiter: str = ";") -> str:
    """A file of one column of these cells, and a target that has nothing to do with them."""
    rows = [delimiter.join([cell, "ab"[row // 2 % 2]]) for row, cell in enumerate(cells)]
    return "\n".join([delimiter.join([name, "kind"]), *rows, ""])


def values_of(data: Table, name: str) -> list[float]:
    """A feature's values over all splits in their own unit, ascending."""
    assert data.feature_names is not None
    place = data.feature_names.index(name)
    inputs = torch.cat([data.splits[split]["inputs"][:, place] for split in SPLITS])
    return [round(value, 3) for value in sorted(data.preparation.to_unit(place, inputs).tolist())]


def rows_of(data: Table) -> dict[str, list[int]]:
    """Which rows of the file each split holds, by the number in their column ``size``; targets must be theirs."""
    assert data.feature_names is not None
    place, rows_by_split = data.feature_names.index("size"), {}
    for split, tensors in data.splits.items():
        rows = data.preparation.to_unit(place, tensors["inputs"][:, place]).round().long()
        assert torch.equal(tensors["target"], rows % 2)
        rows_by_split[split] = rows.tolist()
    return rows_by_split


def sized(path: Path, **arguments: Any) -> dict[str, list[int]]:
    return rows_of(table(path, numbers=["size"], **arguments))


def test_numbers_are_standardised_and_categories_one_hot(file: Path) -> None:
    data = table(file, numbers=["size"], batch_size=4)
    assert data.feature_names == ["size", "colour=blue", "colour=none", "colour=red"]
    assert data.class_names == ["no", "yes"]
    train = data.splits["train"]["inputs"]
    torch.testing.assert_close(train[:, 0].mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    assert train[:, 1:].unique().tolist() == [0.0, 1.0]
    assert (train[:, 1:].sum(1) == 1).all()
    torch.testing.assert_close(data.baseline, train.mean(0))
    assert data.remarks == []


def test_every_row_is_in_one_split(file: Path) -> None:
    rows = sized(file, fractions=(0.5, 0.2, 0.3))
    assert [len(rows[split]) for split in SPLITS] == [15, 6, 9]
    assert sorted(rows["train"] + rows["val"] + rows["test"]) == list(range(30))
    # Drawn, and stratified.
    assert rows["train"] != list(range(15))
    assert sum(row % 2 for row in rows["val"]) == 3


def test_a_column_may_name_the_split(tmp_path: Path) -> None:
    words = ["test", "train", "train", "Validation", "train"] * 6
    lines = [[*row, word] for row, word in zip(ROWS, words, strict=True)]
    data = table(write_csv(tmp_path / "t.csv", [[*HEADER, "part"], *lines]), split="part", numbers=["size"])
    named = {"train": "train", "val": "Validation", "test": "test"}
    assert rows_of(data) == {split: [row for row in range(30) if words[row] == word] for split, word in named.items()}
    assert data.feature_names is not None
    assert not any("part" in name for name in data.feature_names)


@pytest.mark.parametrize("seed", range(3))
def test_val_is_drawn_from_train_where_the_column_names_none(tmp_path: Path, seed: int) -> None:
    words = ["train", "test", "train", "train", "train"] * 6
    lines = [[*row, word] for row, word in zip(ROWS, words, strict=True)]
    file = write_csv(tmp_path / "t.csv", [[*HEADER, "part"], *lines])
    rows = sized(file, split="part", split_seed=seed)
    # No row of test leaks into val, and none is lost or doubled.
    assert rows["test"] == [row for row in range(30) if words[row] == "test"]
    assert [len(rows[split]) for split in SPLITS] == [18, 6, 6]
    assert sorted(rows["train"] + rows["val"]) == [row for row in range(30) if words[row] == "train"]


def test_a_second_file_may_be_the_test_split_and_a_level_of_its_own_is_none(file: Path, tmp_path: Path) -> None:
    other = write_csv(tmp_path / "test.csv", [HEADER, [99, "green", "yes"], [98, "red", "no"]])
    data = table(file, test_path=str(other), numbers=["size"])
    rows = rows_of(data)
    assert rows["test"] == [99, 98]
    assert [len(rows[split]) for split in ("train", "val")] == [22, 8]
    assert sorted(rows["train"] + rows["val"]) == list(range(30))
    # What is fitted is fitted on training rows.
    assert data.feature_names == ["size", "colour=blue", "colour=none", "colour=red"]
    assert data.splits["test"]["inputs"][0, 1:].tolist() == [0.0, 0.0, 0.0]
    assert data.remarks == [
        "column 'colour' has levels that no training row has, ['green']: where they stand, no level holds"
    ]


def test_a_column_may_name_the_rows(tmp_path: Path) -> None:
    header, *rows = [["who", *HEADER], *([f"p{row[0]:02}", *row] for row in ROWS)]
    data = table(write_csv(tmp_path / "patients.csv", [header, *rows]), row_id="who", numbers=["size"])
    names, numbers = data.description.sample_names, rows_of(data)
    assert names is not None
    assert data.feature_names is not None
    assert list(names) == [f"p{row:02}" for split in SPLITS for row in numbers[split]]
    assert not any(name.startswith("who") for name in data.feature_names)
    assert data.remarks == []
    with pytest.raises(ValueError, match=r"Table calls 10 samples '\w+'; no two may have one name"):
        table(tmp_path / "patients.csv", row_id="colour", numbers=["size"])
    with pytest.raises(ValueError, match=r"has no column 'whom' \(row_id\)"):
        table(tmp_path / "patients.csv", row_id="whom")


def test_numbers_may_be_read_as_categories_and_columns_left_out(file: Path) -> None:
    data = table(file, categorical=["size"], ignore=["colour"])
    train = data.splits["train"]["inputs"]
    assert data.feature_names is not None
    assert {name.partition("=")[0] for name in data.feature_names} == {"size"}
    assert train.shape == (18, 18)
    assert (train.sum(0) == 1).all()


def test_a_code_with_an_underscore_is_no_number(tmp_path: Path) -> None:
    rows = [[["1_0", "2_0"][row % 2], row // 2 % 2] for row in range(30)]
    data = table(write_csv(tmp_path / "t.csv", [["code", "label"], *rows]), "label")
    assert data.feature_names == ["code=1_0", "code=2_0"]


def test_numeric_classes_are_sorted_as_numbers(tmp_path: Path) -> None:
    rows = [[row / 7, [2, 10, 9][row % 3]] for row in range(30)]
    data = table(write_csv(tmp_path / "t.csv", [["x", "label"], *rows]), "label")
    assert data.class_names == ["2", "9", "10"]
    by_target = {int(target): data.class_names[int(target)] for target in data.splits["train"]["target"]}
    assert by_target == {0: "2", 1: "9", 2: "10"}
    values = data.preparation.to_unit(0, data.splits["test"]["inputs"][:, 0]) * 7
    expected = [["2", "10", "9"][round(float(value)) % 3] for value in values]
    assert [data.class_names[number] for number in data.splits["test"]["target"].tolist()] == expected


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", ":"])
def test_the_delimiter_is_told_from_the_file(tmp_path: Path, delimiter: str) -> None:
    data = table(written(tmp_path, lines_of([f"{row}.5" for row in range(30)], delimiter=delimiter)))
    assert (data.feature_names, data.class_names) == (["x"], ["a", "b"])
    assert values_of(data, "x") == [row + 0.5 for row in range(30)]
    assert data.remarks == []


def test_another_delimiter_may_be_said(tmp_path: Path) -> None:
    path = written(tmp_path, lines_of([f"{row}.5" for row in range(30)], delimiter="~"))
    assert table(path, delimiter="~").feature_names == ["x"]


def test_quoted_cells_hold_delimiters_quotes_and_lines(tmp_path: Path) -> None:
    cells = ['"a,b"', '"say ""x"""', '"two\nlines"'] * 10
    data = table(written(tmp_path, lines_of(cells, delimiter=",")))
    assert data.feature_names == ["x=a,b", 'x=say "x"', "x=two\nlines"]


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("latin-1", "cp1252"),
        ("cp1252", "cp1252"),
    ],
)
def test_the_encoding_is_told_from_the_bytes_and_said(tmp_path: Path, encoding: str, name: str | None) -> None:
    path = written(tmp_path, lines_of(["grün", "weiß", "rot"] * 10, name="größe"), encoding)
    data = table(path)
    assert data.feature_names == ["größe=grün", "größe=rot", "größe=weiß"]
    remark = f"{path} is no UTF-8 and read as {name}; encoding says otherwise"
    assert data.remarks == ([] if name is None else [remark])


def test_an_encoding_may_be_said(tmp_path: Path) -> None:
    path = written(tmp_path, lines_of(["ґрунт", "вода"] * 10), "cp1251")
    data = table(path, encoding="cp1251")
    assert data.feature_names == ["x=вода", "x=ґрунт"]
    assert data.remarks == []


@pytest.mark.parametrize(
    ("cells", "values", "remark"),
    [
        (["1,5", "2", "-3,25"], [1.5, 2.0, -3.25], "',' before decimals and '.' between thousands"),
        (["1.234,5", "2.000", "-3,25"], [1234.5, 2000.0, -3.25], "',' before decimals and '.' between thousands"),
        (["1,234.5", "2,000,000", "7"], [1234.5, 2e6, 7.0], "'.' before decimals and ',' between thousands"),
        (["1 234,5", "2 000", "7"], [1234.5, 2000.0, 7.0], "',' before decimals and ' ' between thousands"),
        (["1'234.5", "2'000", "7"], [1234.5, 2000.0, 7.0], "'.' before decimals and \"'\" between thousands"),
        (["+1", " 2.5 ", "1e3"], [1.0, 2.5, 1000.0], None),
    ],
)
def test_numbers_are_read_by_the_signs_of_the_file(
    tmp_path: Path, cells: list[str], values: list[float], remark: str | None
) -> None:
    data = table(written(tmp_path, lines_of(cells * 10)))
    assert values_of(data, "x") == pytest.approx(sorted(values * 10), abs=0.05)
    said = [] if remark is None else [f"numbers are read with {remark}; decimal and thousands say otherwise"]
    assert data.remarks == said


def test_three_digits_behind_a_comma_are_asked_about_and_then_as_said(tmp_path: Path) -> None:
    path = written(tmp_path, lines_of(["1,234", "2,500", "3,750"] * 10))
    with pytest.raises(ValueError, match=r"column 'x' holds '1,234', which may be 1.234 or 1234; say decimal: ',' or"):
        table(path)
    assert values_of(table(path, decimal=","), "x") == [1.234] * 10 + [2.5] * 10 + [3.75] * 10
    assert values_of(table(path, thousands=","), "x") == [1234.0] * 10 + [2500.0] * 10 + [3750.0] * 10


def test_a_point_elsewhere_in_the_table_says_what_the_comma_is(tmp_path: Path) -> None:
    rows = "".join(f"{row}.5;1,{row:03};{'ab'[row % 2]}\n" for row in range(30))
    data = table(written(tmp_path, "y;x;kind\n" + rows), numbers=["x"])
    assert values_of(data, "x") == [1000.0 + row for row in range(30)]
    assert values_of(data, "y") == [row + 0.5 for row in range(30)]


def test_a_comma_elsewhere_in_the_table_says_what_the_point_is(tmp_path: Path) -> None:
    rows = "".join(f"{row},5;1.{row:03};{'ab'[row % 2]}\n" for row in range(30))
    data = table(written(tmp_path, "y;x;kind\n" + rows), numbers=["x"])
    assert values_of(data, "x") == [1000.0 + row for row in range(30)]
    assert values_of(data, "y") == [row + 0.5 for row in range(30)]


@pytest.mark.parametrize("word", ["", "NA", "n/a", "?", "null", "NULL", "-", "nan", "NaN", " NA ", "#N/A"])
def test_a_missing_number_is_the_training_median_and_says_so(tmp_path: Path, word: str) -> None:
    words = ["train", "train", "train", "val", "test"] * 6
    cells = ["1.5", "7.25", word, word, "100.5"] * 6
    lines = [f"{cell};{part};{'ab'[row % 2]}" for row, (cell, part) in enumerate(zip(cells, words, strict=True))]
    data = table(written(tmp_path, "\n".join(["x;part;kind", *lines])), split="part")
    assert data.feature_names == ["x", "x=missing"]
    assert data.preparation.name(1) == "x is missing"
    train, val = data.splits["train"]["inputs"], data.splits["val"]["inputs"]
    assert train[:, 1].tolist() == [0.0, 0.0, 1.0] * 6
    # The lower median of (1.5, 7.25), and no 100.5 of test in it.
    assert data.preparation.to_unit(0, train[:3, 0]).tolist() == pytest.approx([1.5, 7.25, 1.5], abs=1e-5)
    assert data.preparation.to_unit(0, val[:, 0]).tolist() == pytest.approx([1.5] * 6, abs=1e-5)


def test_a_missing_category_is_a_level_and_none_is_a_value(tmp_path: Path) -> None:
    data = table(written(tmp_path, lines_of(["red", "none", "NA"] * 10)))
    assert data.feature_names == ["x=none", "x=red", "x=missing"]
    namibia = table(written(tmp_path, lines_of(["DE", "NA", ""] * 10)), missing=[])
    assert namibia.feature_names == ["x=DE", "x=NA", "x=missing"]


def test_a_value_missing_in_no_training_row_has_no_input_and_is_said(tmp_path: Path) -> None:
    words = ["train", "train", "test"] * 10
    lines = [f"{'' if part == 'test' else row / 4};{part};{'ab'[row % 2]}" for row, part in enumerate(words)]
    data = table(written(tmp_path, "\n".join(["x;part;kind", *lines])), split="part")
    assert data.feature_names == ["x"]
    assert data.remarks == ["column 'x' has values missing in no training row; elsewhere the training median stands"]


@pytest.mark.parametrize(
    ("true", "false"), [("true", "false"), ("True", "False"), ("yes", "no"), ("Y", "N"), ("T", "F")]
)
def test_a_truth_value_is_one_input(tmp_path: Path, true: str, false: str) -> None:
    data = table(written(tmp_path, lines_of([true, false, false] * 10)))
    name = true.lower() if true == "True" else true
    assert data.feature_names == [f"x={name}"]
    assert values_of(data, f"x={name}") == [0.0] * 20 + [1.0] * 10


def test_a_truth_value_that_is_missing_is_neither_yes_nor_no(tmp_path: Path) -> None:
    data = table(written(tmp_path, lines_of(["yes", "no", ""] * 10)))
    assert data.feature_names == ["x=no", "x=yes", "x=missing"]
    assert all(values_of(data, f"x={level}") == [0.0] * 20 + [1.0] * 10 for level in ("no", "yes", "missing"))


def test_identities_and_constants_are_left_out_and_said(tmp_path: Path) -> None:
    rows = [[row + 1, f"n{row}", "same", row / 7, "ab"[row % 2]] for row in range(30)]
    data = table(write_csv(tmp_path / "t.csv", [["nr", "name", "c", "x", "kind"], *rows]))
    assert data.feature_names == ["x"]
    assert data.remarks == [
        "column 'nr' is left out: 30 different whole numbers in 30 rows look like identities;"
        " categorical or numbers keeps it",
        "column 'name' is left out: 30 different texts in 30 rows look like identities;"
        " categorical or numbers keeps it",
        "column 'c' is left out: every training row says 'same'",
    ]


def test_an_identity_that_stands_twice_is_left_out_and_said(tmp_path: Path) -> None:
    rows = [[1000 + row // 2 if row < 8 else 2000 + row, row / 7, "ab"[row % 2]] for row in range(30)]
    data = table(write_csv(tmp_path / "t.csv", [["customer_id", "x", "kind"], *rows]))
    assert data.feature_names == ["x"]
    assert data.remarks == [
        "column 'customer_id' is left out: 26 different whole numbers in 30 rows look like identities that stand"
        " several times; categorical or numbers keeps it"
    ]


def test_a_column_without_a_name_is_called_by_its_number(tmp_path: Path) -> None:
    rows = [[row, row / 7, "ab"[row % 2]] for row in range(30)]
    data = table(write_csv(tmp_path / "t.csv", [["", "x", "kind"], *rows]))
    assert data.feature_names == ["x"]
    assert data.remarks[0].startswith("column 'column 1' is left out: 30 different whole numbers")


@pytest.mark.parametrize("copy", ["texts", "numbers", "missing"])
def test_a_target_leaked_as_a_column_is_said(tmp_path: Path, copy: str) -> None:
    leaks = {"texts": ["bad", "good"], "numbers": [3, 8], "missing": ["", "2020-01-01"]}
    rows = [[row / 7, leaks[copy][row % 2], "ab"[row % 2]] for row in range(60)]
    data = table(write_csv(tmp_path / "t.csv", [["x", "outcome", "kind"], *rows]))
    assert data.remarks == [
        "column 'outcome' may be the target itself: each of its 2 values goes with one class; ignore leaves it out"
    ]


def test_two_inputs_of_one_name_are_refused(tmp_path: Path) -> None:
    rows = [[row / 7, "bc"[row % 2], "ab"[row // 2 % 2]] for row in range(30)]
    path = write_csv(tmp_path / "t.csv", [["a=b", "a", "kind"], *rows])
    with pytest.raises(ValueError, match="two inputs would be called 'a=b'; rename a column"):
        table(path)


def test_a_text_of_a_hundred_thousand_characters_and_one_of_signs_beyond_letters_are_levels(tmp_path: Path) -> None:
    data = table(written(tmp_path, lines_of(["x" * 200_000, "😀", ""] * 10)))
    assert data.feature_names == ["x=" + "x" * 200_000, "x=😀", "x=missing"]


def test_limit_keeps_a_stratified_part_of_each_split(tmp_path: Path) -> None:
    rows = [[row / 7, "aab"[row % 3]] for row in range(300)]
    path = write_csv(tmp_path / "t.csv", [["x", "kind"], *rows])
    data = table(path, limit=30)
    assert [len(data.splits[split]["target"]) for split in SPLITS] == [18, 6, 6]
    assert data.splits["train"]["target"].sum() == 6
    assert set(values_of(data, "x")) <= set(values_of(table(path), "x"))


WRONG: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "target": (
        [HEADER, *ROWS],
        {"target": "sort"},
        r"no column 'sort' \(target\); it has \['size', 'colour', 'kind'\]",
    ),
    "ignore": ([HEADER, *ROWS], {"ignore": ["x"]}, r"no column 'x' \(ignore\)"),
    "numbers": ([HEADER, *ROWS], {"numbers": ["x"]}, r"no column 'x' \(numbers\)"),
    "group": ([HEADER, *ROWS], {"group": "x"}, r"no column 'x' \(group\)"),
    "split": ([HEADER, *ROWS], {"split": "colour"}, "'colour' says .'blue', 'none', 'red'."),
    "empty target": (
        [HEADER, *ROWS, [3, "red", ""]],
        {},
        "'kind' has 1 missing values, the first in .*table.csv, line 32; .*say in missing what is none",
    ),
    "infinite": ([HEADER, *ROWS, ["inf", "red", "no"]], {}, "'size' has 1 infinite values, the first in .*line 32"),
    "mixed": (
        [HEADER, *ROWS, ["many", "red", "no"]],
        {},
        r"'size' holds numbers but for 1 cells, the first 'many' in .*table.csv, line 32; .*categorical or ignore",
    ),
    "short": (
        [HEADER, *ROWS, [3, "red"]],
        {},
        "table.csv, line 32: 2 cells under a header of 3, column 'kind' is the first without a cell; the delimiter",
    ),
    "long": (
        [HEADER, *ROWS, [3, "red", "no", "more"]],
        {},
        "table.csv, line 32: 4 cells under a header of 3, no column stands above 'more'",
    ),
    "nothing left": ([HEADER, *ROWS], {"ignore": ["size", "colour"]}, "no column left to learn from"),
    "no rows": ([HEADER], {}, "no rows below its header"),
    "nothing": ([], {}, "table.csv is empty"),
    "twice": ([[*HEADER, "size"], *[[*row, 1] for row in ROWS]], {}, "'size'. twice"),
    "fractional target": (
        [["x", "kind"], *[[row, row / 7] for row in range(30)]],
        {},
        "fractional numbers; kdlab classifies",
    ),
    "many classes": ([["x", "kind"], *[[1, f"k{row}"] for row in range(200)]], {}, "200 different values in 200 rows"),
}


@pytest.mark.parametrize("name", WRONG)
def test_refuses_in_one_line(name: str, tmp_path: Path) -> None:
    lines, arguments, message = WRONG[name]
    file = write_csv(tmp_path / "table.csv", lines)
    with pytest.raises(ValueError, match=message) as raised:
        Table(**{"path": str(file), "target": "kind", **arguments}).setup()
    assert "\n" not in str(raised.value)


def test_the_line_of_a_row_counts_lines_in_quotes_and_blank_lines(tmp_path: Path) -> None:
    text = lines_of(['"two\nlines"', "b"] * 10).replace("b;a\n", "b;a\n\n", 1) + "only one\n"
    with pytest.raises(ValueError, match=r"table.csv, line 33: 1 cells under a header of 2"):
        table(written(tmp_path, text))


def test_a_quote_that_is_never_closed_is_refused(tmp_path: Path) -> None:
    text = lines_of(["red", "blue"] * 10).replace("blue;b", '"blue;b', 1)
    with pytest.raises(ValueError, match=r"table.csv, line \d+ or below: a quote is opened and never closed"):
        table(written(tmp_path, text))


def test_bytes_that_are_no_text_in_the_encoding_are_refused_with_their_line(tmp_path: Path) -> None:
    path = written(tmp_path, lines_of(["rot", "rot", "grün"] * 10), "latin-1")
    with pytest.raises(ValueError, match=r"table.csv, line 4: bytes that are no text in utf-8; leave encoding out"):
        table(path, encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fractions": (0.6, 0.2, 0.1)}, "add up to 1"),
        ({"split": "part", "test_path": "u.csv"}, "both say what the test rows are"),
        ({"delimiter": "ab"}, "delimiter must be one plain character, got 'ab'"),
        ({"decimal": ",", "thousands": ","}, "decimal and thousands are both ','"),
        ({"encoding": "utf-9"}, "unknown encoding: utf-9; some are utf-8"),
        ({"levels": 1}, "levels must be at least 2"),
        ({"limit": 2}, "limit at least 3"),
    ],
)
def test_refuses_contradictions_in_the_constructor(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Table("t.csv", target="kind", **arguments)


def test_a_test_file_of_other_columns_is_refused(file: Path, tmp_path: Path) -> None:
    other = write_csv(tmp_path / "test.csv", [["size", "kind"], [1, "yes"]])
    with pytest.raises(ValueError, match="differ in the columns"):
        table(file, test_path=str(other))


def test_paths_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mixed(tmp_path / "credit.csv")
    monkeypatch.setenv("MY_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    hashes = {
        Table(path, target="class").content_hash()
        for path in ("${MY_DATA}/credit.csv", "$MY_DATA/credit.csv", "credit.csv")
    }
    assert len(hashes) == 1


def test_an_unset_variable_and_a_missing_file_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_DATA", raising=False)
    with pytest.raises(ValueError, match="needs the environment variable MY_DATA, which is not set"):
        Table("${MY_DATA}/credit.csv", target="class").setup()
    with pytest.raises(FileNotFoundError, match=r"no file or folder /.*/nowhere.csv \(written nowhere.csv\)"):
        Table("nowhere.csv", target="class").setup()
