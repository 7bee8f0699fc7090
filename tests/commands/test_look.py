"""What ``kdlab look`` prints is a block that an experiment holds as it stands."""

import os
import struct
from pathlib import Path

import pytest
import yaml
from PIL import Image

from kdlab.__main__ import main
from kdlab.commands.look import arrays_at, tables_at
from kdlab.configuration.experiment import read
from kdlab.errors import ConfigurationError
from tests.data.made_up import write_csv, write_idx, write_image_folder, write_mixed

STAGE = """
trainer: {max_epochs: 1}
evaluate: {metrics: {}}
stages:
  teacher: {module: {class_path: Supervised, init_args: {model: {class_path: MLP, init_args: {inputs: 4, classes: 2}}}}}
"""


def looked(path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert main(["look", str(path), *more]) == 0
    return capsys.readouterr().out


def refused(path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert main(["look", str(path), *more]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def read_by_experiment(text: str, folder: Path) -> tuple[str, tuple[int, ...], int]:
    """Class, shape and classes of the data of an experiment that holds what was printed, comments and all."""
    file = folder / "experiment.yaml"
    file.write_text(text + STAGE)
    data = read(file).build_data()
    data.setup("fit")
    return type(data).__name__, data.shape, data.classes


def test_a_table_is_described_and_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_mixed(tmp_path / "credit.csv")
    text = looked(file, capsys)
    assert yaml.safe_load(text) == {
        "data": {"class_path": "Table", "init_args": {"path": str(file), "target": "class"}}
    }
    assert text.splitlines()[:7] == [
        "# credit.csv: 120 rows, 5 columns, utf-8, delimiter ','",
        "# target 'class', 2 classes: bad 40, good 80",
        "# 2 numbers: duration, amount",
        "# 2 categories: housing (3), debtors (2)",
        "# missing: nothing",
        "# rows that repeat an earlier one: 0",
        "# credit: 72 / 24 / 24 samples of 7 values, 2 classes (33.3 % each)".replace(
            "33.3 % each", "33.3 % to 66.7 %"
        ),
    ]
    assert read_by_experiment(text, tmp_path) == ("Table", (7,), 2)


def hostile(folder: Path) -> Path:
    """An identity, a constant, a leak, mixed cells, missing cells, a split, patients, and a row that stands twice."""
    header = ["id", "x", "same", "outcome", "mixed", "patient", "part", "label"]
    rows = [
        [
            f"n{row}",
            "" if row % 10 == 0 else row / 7,
            "s",
            ["bad", "good"][row % 2],
            "odd" if row == 7 else row / 3,
            f"p{row // 3}",
            ["train", "train", "test"][row % 3],
            "ab"[row % 2],
        ]
        for row in range(60)
    ]
    return write_csv(folder / "t.csv", [header, *rows, rows[3]])


def test_what_is_odd_is_said_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = looked(hostile(tmp_path), capsys)
    arguments = yaml.safe_load(text)["data"]["init_args"]
    assert arguments == {
        "path": str(tmp_path / "t.csv"),
        "target": "label",
        "split": "part",
        "ignore": ["outcome", "mixed"],
    }
    for line in (
        "# missing: x 6",
        "# rows that repeat an earlier one: 1",
        "# column 'patient' may say whom a row belongs to; group: patient keeps each in one split",
        "# column 'outcome' is ignored: may be the target itself, each of its 2 values goes with one class",
        "# column 'same' is left out: every training row says 's'",
    ):
        assert line in text.splitlines()
    assert "# ignored: column 'mixed' holds numbers but for 1 cells, the first 'odd' in" in text
    assert "# column 'id' is left out: 60 different texts in 61 rows look like identities" in text
    assert read_by_experiment(text, tmp_path)[0] == "Table"


def test_a_table_named_test_beside_train_is_the_test_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train", "val", "test"):
        write_mixed(tmp_path / "credit" / f"{name}.csv")
    text = looked(tmp_path / "credit", capsys)
    assert "# val.csv is not read: Table draws its validation rows from training" in text.splitlines()
    arguments = yaml.safe_load(text)["data"]["init_args"]
    assert arguments["path"].endswith("train.csv")
    assert arguments["test_path"].endswith("test.csv")


def test_paths_below_the_folder_of_data_are_written_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDLAB_DATA", str(tmp_path))
    write_mixed(tmp_path / "credit" / "credit.csv")
    text = looked(tmp_path / "credit", capsys)
    assert yaml.safe_load(text)["data"]["init_args"]["path"] == "${KDLAB_DATA}/credit/credit.csv"
    assert read_by_experiment(text, tmp_path) == ("Table", (7,), 2)


@pytest.mark.parametrize(
    ("columns", "target"),
    [
        (["a", "class", "b"], "class"),
        (["a", "Target", "b"], "Target"),
        (["a", "b", "last"], "last"),
    ],
)
def test_the_target_is_guessed_or_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: list[str], target: str
) -> None:
    rows = [[row // 2 % 2 if name == target else (row * 7 % 11) / 4 for name in columns] for row in range(40)]
    file = write_csv(tmp_path / "t.csv", [columns, *rows])
    assert yaml.safe_load(looked(file, capsys))["data"]["init_args"]["target"] == target
    assert "has no column 'c'; it has" in refused(file, capsys, "--target", "c")


def test_idx_files_and_image_folders_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_idx(tmp_path / "idx", train=6000, size=4)
    assert read_by_experiment(looked(tmp_path / "idx", capsys), tmp_path) == ("Idx", (1, 4, 4), 10)
    write_image_folder(tmp_path / "images", size=8)
    text = looked(tmp_path / "images", capsys)
    assert "# sizes: (8, 8) in 160 images\n# colours: RGB in 160 images\n" in text
    assert read_by_experiment(text, tmp_path) == ("ImageFolder", (3, 8, 8), 10)


def test_grey_images_of_several_sizes_are_scaled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_image_folder(tmp_path / "images", size=8)
    for file in folder.glob("*/*/*.png"):
        Image.open(file).convert("L").resize((6, 7) if file.stem.endswith("1") else (8, 8)).save(file)
    text = looked(folder, capsys)
    assert "(6, 7) in 16 images" in text
    assert read_by_experiment(text, tmp_path) == ("ImageFolder", (1, 8, 8), 10)


def test_a_broken_image_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_image_folder(tmp_path / "images", size=8)
    (folder / "train" / "class0" / "broken.png").write_bytes(struct.pack("4B", 1, 2, 3, 4))
    assert "broken.png is not an image that can be read" in refused(folder, capsys)


def test_what_nothing_reads_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.md").write_text("x")
    assert "notes.md is nothing that kdlab reads" in refused(tmp_path / "notes.md", capsys)
    (tmp_path / "empty").mkdir()
    assert "empty has no table" in refused(tmp_path / "empty", capsys)
    assert "no file or folder" in refused(tmp_path / "nowhere", capsys)
    for name in ("a", "b"):
        write_mixed(tmp_path / "two" / f"{name}.csv")
    assert "has the tables a.csv, b.csv; look at one of them" in refused(tmp_path / "two", capsys)
    codes = [[f"part no. {row}", "ab"[row % 2]] for row in range(40)]
    file = write_csv(tmp_path / "codes.csv", [["code", "label"], *codes])
    assert "no column left to learn from: column 'code' is left out: 40 different texts" in refused(file, capsys)


REAL = {
    "german-credit": ("Table", (59,), 2),
    "letter-recognition": ("Table", (16,), 26),
    "legal-notices": ("Text", (272,), 5),
    "banking77": ("Text", (64,), 77),
    "beexai/magic.csv": ("Table", (10,), 2),
    "beexai/optdigits.csv": ("Table", (62,), 10),
    "beexai/pendigits.csv": ("Table", (16,), 10),
    "fashion-mnist": ("Idx", (1, 28, 28), 10),
    "pneumonia-mnist": ("Npz", (1, 28, 28), 2),
    "mitbih-beats": ("Npz", (1, 128), 4),
    "mitbih-beats/train.npz": ("Npz", (1, 128), 4),
    "cifar10-images": ("ImageFolder", (3, 32, 32), 10),
}


@pytest.mark.slow
@pytest.mark.skipif("KDLAB_DATA" not in os.environ, reason="KDLAB_DATA names no folder of real data sets")
@pytest.mark.parametrize("name", REAL)
def test_the_block_of_a_real_set_runs_unchanged(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if REAL[name][0] == "Text":
        pytest.importorskip("tokenizers", reason="comes with kdlab[text]")
    text = looked(Path(os.environ["KDLAB_DATA"]) / name, capsys)
    assert read_by_experiment(text, tmp_path) == REAL[name]


def test_line_breaks_in_names_do_not_leave_the_comments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [["first\nstages: {}", "kind"], *[[row % 7, ("on", "off\nquick: {}")[row % 2]] for row in range(60)]]
    text = looked(write_csv(tmp_path / "odd.csv", lines), capsys)
    assert yaml.safe_load(text).keys() == {"data"}
    assert read_by_experiment(text, tmp_path) == ("Table", (1,), 2)


@pytest.mark.parametrize("names", [("train.csv", "test.csv", "test.parquet"), ("train.npz", "val.npz", "valid.npz")])
def test_two_files_of_one_split_are_refused_and_neither_is_lost(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).touch()
    at = arrays_at if names[0].endswith(".npz") else tables_at
    split = "val" if names[0].endswith(".npz") else "test"
    with pytest.raises(ConfigurationError, match=rf"has {names[1]} and {names[2]}, which are both the {split} split"):
        at(tmp_path)
