"""What ``kdlab look`` says of NPZ files, and the block for them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.commands.test_look import looked, read_by_experiment, refused
from tests.data.made_up import save_npz, write_beats, write_npz

ROWS = 40
LABELS = np.arange(ROWS) % 2


def arguments_of(text: str) -> dict[str, Any]:
    arguments: dict[str, Any] = yaml.safe_load(text)["data"]["init_args"]
    return arguments


def test_splits_in_the_names_of_arrays_are_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_npz(tmp_path / "xray.npz")
    text = looked(file, capsys)
    assert text.splitlines()[:4] == [
        "# xray.npz: arrays images uint8 (100, 12, 12), labels uint8 (100, 1), each for train, val, test",
        "# inputs 'images': images",
        "# target 'labels', 2 classes: 0 50, 1 50",
        "# xray: 60 / 20 / 20 samples of 1 × 12 × 12 values, 2 classes (50.0 % each)",
    ]
    assert arguments_of(text) == {"path": str(file), "inputs": "images", "target": "labels", "kind": "images"}
    assert read_by_experiment(text, tmp_path) == ("Npz", (1, 12, 12), 2)


def test_series_and_whom_they_belong_to_are_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_beats(tmp_path / "beats" / "train.npz")
    text = looked(tmp_path / "beats", capsys)
    told = {"path": str(file), "inputs": "x_uv", "target": "y", "kind": "series", "group": "record"}
    assert arguments_of(text) == told
    assert "# not read: symbol, rr" in text.splitlines()
    assert read_by_experiment(text, tmp_path) == ("Npz", (1, 64), 4)
    assert arguments_of(looked(file, capsys, "--target", "symbol"))["target"] == "symbol"
    # A file of the same name as a split is that split, and a record that both have is no group.
    test = write_beats(tmp_path / "beats" / "test.npz", rows=60)
    text = looked(tmp_path / "beats", capsys)
    del told["group"]
    assert arguments_of(text) == {**told, "test_path": str(test)}
    assert "# array 'record' may say whom a sample belongs to, but cannot be the group: '100' of " in text
    assert read_by_experiment(text, tmp_path) == ("Npz", (1, 64), 4)


def test_an_array_of_splits_and_names_of_columns_are_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = save_npz(
        tmp_path / "wine.npz",
        data=np.random.default_rng(0).normal(size=(ROWS, 3)),
        target=LABELS,
        part=np.array(["train", "val", "train", "test"] * 10),
        feature_names=np.array(["a", "b", "c"]),
    )
    text = looked(file, capsys)
    assert "# inputs 'data': table, with the names in 'feature_names'" in text
    assert "# columns are called as array 'feature_names' says" in text
    assert arguments_of(text) == {
        "path": str(file),
        "inputs": "data",
        "target": "target",
        "kind": "table",
        "split": "part",
    }
    assert read_by_experiment(text, tmp_path) == ("Npz", (3,), 2)


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((20,), {"kind": "table"}, (20,)),
        ((9, 12), {"kind": "images"}, (1, 9, 12)),
        ((7, 5), {"kind": "series", "channels_last": True}, (5, 7)),
        ((5, 7), {"kind": "series", "channels_last": False}, (5, 7)),
        ((2, 30), {"kind": "series"}, (2, 30)),
        ((9, 12, 3), {"kind": "images"}, (3, 9, 12)),
    ],
)
def test_what_shapes_leave_open_is_said_in_the_block(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    shape: tuple[int, ...],
    layout: dict[str, Any],
    expected: tuple[int, ...],
) -> None:
    x = np.random.default_rng(0).normal(size=(ROWS, *shape))
    file = save_npz(tmp_path / "some.npz", x=x, mask=x > 0, y=LABELS)
    text = looked(file, capsys)
    assert arguments_of(text) == {"path": str(file), "inputs": "x", "target": "y", **layout}
    assert read_by_experiment(text, tmp_path) == ("Npz", expected, 2)


def test_what_cannot_be_guessed_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(0).normal(size=(ROWS, 3))
    file = save_npz(tmp_path / "some.npz", x=x, here=LABELS, there=LABELS)
    assert "no array alone looks like classes; say with --target which to predict, of x float64" in refused(
        file, capsys
    )
    assert arguments_of(looked(file, capsys, "--target", "there"))["target"] == "there"
    assert "has no array 'nowhere' (target); it has x float64" in refused(file, capsys, "--target", "nowhere")
    save_npz(file, y=LABELS)
    assert "has no array of numbers to learn from; it has y int64 (40,)" in refused(file, capsys)
    save_npz(file, x=np.where(x > 2, np.nan, x), y=LABELS)
    assert "array 'x' has NaN or infinite values" in refused(file, capsys)
    file.write_bytes(b"no archive")
    assert "is no NPZ file, or is cut short or damaged" in refused(file, capsys)
    write_npz(tmp_path / "other.npz")
    assert "has the arrays other.npz, some.npz; look at one of them" in refused(tmp_path, capsys)


def test_line_breaks_in_names_do_not_leave_the_comments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = np.array(["on", "off\nquick: {}"])[LABELS]
    x = np.random.default_rng(0).normal(size=(ROWS, 3))
    file = save_npz(tmp_path / "odd.npz", **{"x\nstages: {}": x, "kind": odd})
    text = looked(file, capsys)
    assert yaml.safe_load(text).keys() == {"data"}
    assert read_by_experiment(text, tmp_path) == ("Npz", (3,), 2)
