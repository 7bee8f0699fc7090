"""Series in long form: how rows become steps, and the one line that refuses the rest."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from kdlab.data.series_table import SeriesTable
from tests.data.made_up import write_csv, write_series

SPLITS = ("train", "val", "test")
HEADER = ["who", "at", "x", "y", "kind"]


def lines(series: int = 20, steps: int = 4) -> list[list[object]]:
    """Each value says where it stands: x is 10 times the series and the step, y its negative."""
    return [
        [f"s{number:02}", step, 10 * number + step, -10 * number - step, "ab"[number % 2]]
        for number in range(series)
        for step in range(steps)
    ]


def read(folder: Path, rows: Sequence[Sequence[object]], header: list[str] = HEADER, **arguments: Any) -> SeriesTable:
    file = write_csv(folder / "long.csv", [header, *rows])
    data = SeriesTable(str(file), **{"series": "who", "target": "kind", "time": "at", **arguments})
    data.setup()
    return data


def shown(data: SeriesTable, split: str) -> list[Any]:
    """The series of a split in their own units (series, channels, steps)."""
    values: list[Any] = data.preparation.undone(data.splits[split]["inputs"]).round().long().tolist()
    return values


def numbers_of(data: SeriesTable) -> dict[str, list[int]]:
    """Which series each split holds, by their first value; names, steps and targets must be theirs."""
    names, found = data.description.sample_names, {}
    assert names is not None
    for split in SPLITS:
        found[split] = [series[0][0] // 10 for series in shown(data, split)]
        assert shown(data, split) == [
            [[10 * number + step for step in range(4)], [-10 * number - step for step in range(4)]]
            for number in found[split]
        ]
        index = data.splits[split]["index"].tolist()
        assert [names[place].removeprefix("test/") for place in index] == [f"s{number:02}" for number in found[split]]
        assert data.splits[split]["target"].tolist() == [number % 2 for number in found[split]]
    return found


def test_rows_become_steps_in_the_order_of_time(tmp_path: Path) -> None:
    shuffled = [lines()[(7 * row) % 80] for row in range(80)]
    assert shuffled[1][0] != shuffled[0][0]
    data = read(tmp_path, shuffled)
    assert (data.shape, data.class_names, data.feature_names) == ((2, 4), ["a", "b"], ["x", "y"])
    numbers = numbers_of(data)
    assert [len(numbers[split]) for split in SPLITS] == [12, 4, 4]
    assert sorted(number for chosen in numbers.values() for number in chosen) == list(range(20))
    train = data.splits["train"]["inputs"]
    torch.testing.assert_close(train.mean((0, 2)), torch.zeros(2), atol=1e-5, rtol=0)
    assert data.preparation.name(5) == "step 1 of y"


def test_without_time_the_order_of_the_rows_counts(tmp_path: Path) -> None:
    turned = [line for number in range(20) for line in reversed(lines()[4 * number : 4 * number + 4])]
    data = read(tmp_path, turned, time=None, ignore=["at"])
    assert shown(data, "test")[0][0] == sorted(shown(data, "test")[0][0], reverse=True)


def test_dates_order_and_channels_are_chosen(tmp_path: Path) -> None:
    dated = [[who, f"2024-01-{20 - int(str(at)):02} 10:00", *rest] for who, at, *rest in lines()]
    data = read(tmp_path, dated, channels=["y"])
    assert (data.shape, data.feature_names) == ((1, 4), ["y"])
    assert shown(data, "train")[0][0] == sorted(shown(data, "train")[0][0])


def test_parquet_is_read_as_well(tmp_path: Path) -> None:
    pq.write_table(pa.table(dict(zip(HEADER, map(list, zip(*lines(), strict=True)), strict=True))), tmp_path / "l.pq")
    data = SeriesTable(str(tmp_path / "l.pq"), "who", "kind", "at")
    data.setup()
    assert numbers_of(data) == numbers_of(read(tmp_path, lines()))


def test_a_column_or_a_file_may_say_the_splits(tmp_path: Path) -> None:
    words = ["train", "train", "test", "val", "train"] * 4
    header, rows = [*HEADER, "part"], [[*line, words[int(str(line[0])[1:])]] for line in lines()]
    named = numbers_of(read(tmp_path, rows, header, split="part"))
    assert named == {split: [number for number in range(20) if words[number] == split] for split in SPLITS}
    # A second file counts its series anew.
    other = write_csv(tmp_path / "test.csv", [HEADER, *lines(6)])
    numbers = numbers_of(read(tmp_path, lines(), test_path=str(other)))
    assert numbers["test"] == list(range(6))
    assert [len(numbers[split]) for split in SPLITS] == [15, 5, 6]


def test_a_group_is_never_in_two_splits(tmp_path: Path) -> None:
    header, rows = [*HEADER, "person"], [[*line, f"p{int(str(line[0])[1:]) // 2}"] for line in lines()]
    groups = [
        {number // 2 for number in chosen}
        for chosen in numbers_of(read(tmp_path, rows, header, group="person")).values()
    ]
    assert sum(map(len, groups)) == 10
    other = write_csv(tmp_path / "test.csv", [header, *rows[:16]])
    with pytest.raises(ValueError, match=r"'p\d' of column 'person' has rows in"):
        read(tmp_path, rows, header, group="person", test_path=str(other))


def test_a_limit_counts_series(tmp_path: Path) -> None:
    data = SeriesTable(str(write_series(tmp_path / "walk.csv")), "series", "kind", "time", ignore=["person"], limit=10)
    data.setup()
    assert [len(data.splits[split]["target"]) for split in SPLITS] == [6, 2, 2]


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (
            lambda rows: rows[:-3],
            {},
            "'s19' is the shortest with 1 steps, 's00' the longest with 4; padding would be learned from",
        ),
        (
            lambda rows: [*rows, ["s00", 9, *rows[0][2:]]],
            {},
            "'s01' is the shortest with 4 steps, 's00' the longest with 5",
        ),
        (
            lambda rows: [rows[0], ["s00", 0, *rows[1][2:]], *rows[2:]],
            {},
            r"series 's00' has two rows of one at, the second in .*long.csv, line 3",
        ),
        (
            lambda rows: [[*rows[0][:4], "b"], *rows[1:]],
            {},
            "column 'kind' does not say the same in all rows of 1 series, the first 's00'",
        ),
        (
            lambda rows: [["s00", 0, "", *rows[0][3:]], *rows[1:]],
            {},
            r"column 'x' has 1 missing values, the first in .*long.csv, line 2; fill them",
        ),
        (
            lambda rows: [["", *rows[0][1:]], *rows[1:]],
            {},
            r"column 'who' has 1 missing values, the first in .*line 2",
        ),
        (
            lambda rows: [[*row[:3], "word", row[4]] for row in rows],
            {},
            "column 'y' holds texts, no numbers; name it in ignore",
        ),
        (lambda rows: [[row[0], "later", *row[2:]] for row in rows], {}, "column 'at' holds texts, no numbers"),
        (lambda rows: rows, {"ignore": ["x", "y"]}, "has no column left to learn from"),
        (lambda rows: rows, {"channels": ["z"]}, r"has no column 'z' \(channels\); it has"),
        (lambda rows: rows, {"group": "z"}, r"has no column 'z' \(group\); it has"),
        (lambda rows: [[*row[:4], "a"] for row in rows], {}, "two classes the least"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, change: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        read(tmp_path, change(lines()), **arguments)
    assert "\n" not in str(refused.value)


def test_arguments_that_contradict_are_refused() -> None:
    with pytest.raises(ValueError, match="both say what the test series are"):
        SeriesTable("a.csv", "who", "kind", split="part", test_path="b.csv")
    with pytest.raises(ValueError, match="limit must be at least 3"):
        SeriesTable("a.csv", "who", "kind", limit=1)
    with pytest.raises(ValueError, match="fractions must be positive"):
        SeriesTable("a.csv", "who", "kind", fractions=(0.5, 0.5, 0.5))
