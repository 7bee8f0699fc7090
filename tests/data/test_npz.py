"""Arrays in NPZ files as people have them: what each becomes, and the one line that refuses the rest."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kdlab.data.npz import Npz
from tests.data.made_up import save_npz, write_beats, write_npz

SPLITS = ("train", "val", "test")
ROWS = 40
#: Each sample holds its own number, so that a test sees where it went.
NUMBERED = np.arange(ROWS)[:, None] + np.array([0.0, 0.25, 0.5])
LABELS = np.arange(ROWS) % 2


def loaded(file: Path, **arguments: Any) -> Npz:
    data = Npz(str(file), **arguments)
    data.setup()
    return data


def table(file: Path, x: Any = NUMBERED, y: Any = LABELS, told: dict[str, Any] | None = None, **more: Any) -> Npz:
    """A table of these arrays, read; ``more`` are further arrays."""
    return loaded(save_npz(file, x=x, y=y, **more), **{"kind": "table", **(told or {})})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "arrays.npz"


def shown(data: Npz, split: str = "train") -> torch.Tensor:
    """The inputs of a split in their own units."""
    return data.preparation.undone(data.splits[split]["inputs"])


def rows_of(data: Npz) -> dict[str, list[int]]:
    """Which samples of ``NUMBERED`` each split holds."""
    return {split: shown(data, split)[:, 0].round().long().tolist() for split in SPLITS}


def test_arrays_that_name_their_split_are_read_without_a_word(file: Path) -> None:
    data = loaded(write_npz(file))
    assert [len(data.splits[split]["target"]) for split in SPLITS] == [60, 20, 20]
    assert (data.shape, data.class_names, data.remarks) == ((1, 12, 12), ["0", "1"], [])
    stored = np.load(file)
    for split in SPLITS:
        pixels = torch.from_numpy(stored[f"{split}_images"]).float()
        torch.testing.assert_close(shown(data, split)[:, 0] * 255, pixels, atol=1e-3, rtol=0)
        assert data.splits[split]["target"].tolist() == stored[f"{split}_labels"][:, 0].tolist()
    train = data.splits["train"]["inputs"]
    torch.testing.assert_close(train.mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(train.std(unbiased=False), torch.tensor(1.0), atol=1e-5, rtol=0)


def test_what_is_fitted_is_fitted_on_training_rows(file: Path) -> None:
    arrays = {"x_train": NUMBERED, "x_test": NUMBERED + 1000, "y_train": LABELS, "y_test": LABELS}
    data = loaded(save_npz(file, **arrays), kind="table")
    # Validation is drawn from training, in the proportion of 0.6 to 0.2.
    assert [len(data.splits[split]["target"]) for split in SPLITS] == [30, 10, 40]
    torch.testing.assert_close(data.splits["train"]["inputs"].mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    assert data.splits["test"]["inputs"].min() > 50
    assert rows_of(data)["test"] == [1000 + row for row in range(ROWS)]
    assert sorted(rows_of(data)["train"] + rows_of(data)["val"]) == list(range(ROWS))


def test_every_sample_is_in_one_split(file: Path) -> None:
    data = table(file, told={"fractions": (0.5, 0.25, 0.25)})
    rows = rows_of(data)
    assert [len(rows[split]) for split in SPLITS] == [20, 10, 10]
    assert sorted(rows["train"] + rows["val"] + rows["test"]) == list(range(ROWS))
    assert rows["train"] != list(range(20))
    for split in SPLITS:
        assert data.splits[split]["target"].tolist() == [row % 2 for row in rows[split]]
    assert data.feature_names == ["x[0]", "x[1]", "x[2]"]


def test_an_array_may_say_the_splits(file: Path) -> None:
    words = np.array(["test", "train", "train", "Validation"] * 10)
    rows = rows_of(table(file, part=words, told={"split": "part", "target": "y"}))
    named = {"train": "train", "val": "Validation", "test": "test"}
    assert rows == {split: [row for row in range(ROWS) if words[row] == word] for split, word in named.items()}
    # The same as bytes, and without a word for val.
    words = np.array([b"test", b"train", b"train", b"train"] * 10)
    rows = rows_of(table(file, part=words, told={"split": "part", "target": "y"}))
    assert rows["test"] == list(range(0, ROWS, 4))
    assert sorted(rows["train"] + rows["val"]) == [row for row in range(ROWS) if row % 4]


def test_files_may_be_the_splits(tmp_path: Path) -> None:
    paths = {split: save_npz(tmp_path / f"{split}.npz", x=NUMBERED, y=LABELS) for split in SPLITS}
    told = {"kind": "table", "val_path": str(paths["val"]), "test_path": str(paths["test"])}
    assert rows_of(loaded(paths["train"], **told)) == {split: list(range(ROWS)) for split in SPLITS}
    del told["val_path"]
    assert [len(rows) for rows in rows_of(loaded(paths["train"], **told)).values()] == [30, 10, 40]


def test_a_group_is_never_in_two_splits(file: Path) -> None:
    whom = np.array([f"p{row // 4}" for row in range(ROWS)])
    data = table(file, whom=whom, told={"group": "whom", "target": "y"})
    groups = {split: set(whom[rows]) for split, rows in rows_of(data).items()}
    assert sum(map(len, groups.values())) == 10
    assert all(groups.values())
    assert data.splits["train"]["groups"].tolist() == [int(name[1:]) for name in whom[rows_of(data)["train"]]]


def test_a_group_stays_whole_where_val_is_drawn_from_train(tmp_path: Path) -> None:
    paths = [write_beats(tmp_path / f"{seed}.npz", seed=seed) for seed in range(2)]
    data = loaded(paths[0], inputs="x_uv", kind="series", group="record", test_path=str(paths[1]))
    groups = [set(data.splits[split]["groups"].tolist()) for split in SPLITS]
    assert all(groups)
    assert sum(map(len, groups)) == len(set.union(*groups)) == 24


def test_a_group_that_the_files_tear_apart_is_refused(tmp_path: Path) -> None:
    paths = [write_beats(tmp_path / f"{split}.npz") for split in ("train", "test")]
    told = {"inputs": "x_uv", "kind": "series", "test_path": str(paths[1])}
    loaded(paths[0], **told)
    with pytest.raises(ValueError, match=r"'100' of .*array 'record' has rows in \w+ and in test; a group is in one"):
        loaded(paths[0], group="record", **told)


def test_samples_have_their_own_names_and_a_limit(file: Path) -> None:
    names = np.array([f"scan {row}" for row in range(ROWS)])
    data = table(file, who=names, told={"row_id": "who", "limit": 20, "target": "y"})
    described = data.description.sample_names
    assert described is not None
    assert list(described) == [f"scan {row}" for split in SPLITS for row in rows_of(data)[split]]
    assert [len(data.splits[split]["target"]) for split in SPLITS] == [12, 4, 4]
    with pytest.raises(ValueError, match="no two may have one name"):
        table(file, who=names.astype("U4"), told={"row_id": "who", "target": "y"})


@pytest.mark.parametrize(
    ("labels", "class_names", "expected"),
    [
        (LABELS[:, None] + 1, [], ["1", "2"]),
        (LABELS.astype(np.float32) * 7 + 3, [], ["3", "10"]),
        (LABELS > 0, [], ["False", "True"]),
        (LABELS * 2 - 1, [], ["-1", "1"]),
        (np.array(["9", "10"])[LABELS], [], ["9", "10"]),
        (np.array(["cat", "dog"])[LABELS], [], ["cat", "dog"]),
        (np.array(["kožich".encode(), b"pes"])[LABELS], [], ["kožich", "pes"]),
        (LABELS - 1, ["no", "yes"], ["no", "yes"]),
        (np.array(["dog", "cat"])[LABELS], ["dog", "cat"], ["dog", "cat"]),
    ],
)
def test_a_target_is_numbers_or_texts(file: Path, labels: Any, class_names: list[str], expected: list[str]) -> None:
    data = table(file, y=labels, told={"class_names": class_names})
    assert data.class_names == expected
    assert all(data.splits[split]["target"].tolist() == [row % 2 for row in rows_of(data)[split]] for split in SPLITS)


@pytest.mark.parametrize(
    ("labels", "class_names", "message"),
    [
        (np.full(ROWS, 3), [], "'3' of all samples; two classes are needed"),
        (np.eye(2)[LABELS], [], r"has the shape \(40, 2\); one value a sample is needed \(of one-hot labels store"),
        (LABELS + 0.5, [], r"fractional numbers; kdlab classifies \(regression is not supported\)"),
        (np.where(np.arange(ROWS) == 7, np.nan, LABELS), [], "NaN or infinite labels in 1 samples, the first sample 7"),
        (np.array(["", "a", "b", "a"] * 10), [], "has no text for sample 0; drop what has no label"),
        (np.arange(ROWS) % 3 - 1, [], "says -1 beside 0 and more: drop the samples where it means no label"),
        (LABELS.astype(object), [], "holds pickled Python objects, which can run code"),
        (LABELS.astype(complex), [], "holds complex128; a target holds numbers or texts"),
        (LABELS[1:], [], r"array 'x' has the shape \(40, 3\) but array 'y' has the shape \(39,\); both need a row"),
        (LABELS * 2, ["a", "b", "c"], r"3 names \['a', 'b', 'c'\] for the 2 values \['0', '2'\]; name each value"),
        (LABELS, ["a", "a"], r"2 names \['a', 'a'\] for the 2 values"),
        (np.array(["cat", "dog"])[LABELS], ["cat", "cow"], "say each text once"),
        (np.array([b"\xe9", b"e"])[LABELS], [], "holds bytes that are no text in UTF-8"),
    ],
)
def test_a_target_that_is_none_is_refused(file: Path, labels: Any, class_names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        table(file, y=labels, told={"class_names": class_names, "target": "y"})
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_measurements_are_no_classes(file: Path) -> None:
    with pytest.raises(ValueError, match="has 300 different values in 300 samples; these are no classes"):
        table(file, x=np.ones((300, 3)), y=np.arange(300))


def test_names_in_the_file_are_taken_and_said(file: Path) -> None:
    more = {"target_names": np.array(["no", "yes"]), "feature_names": np.array(["a", "b", "c"])}
    data = table(file, told={"kind": None}, **more)
    assert (data.class_names, data.feature_names) == (["no", "yes"], ["a", "b", "c"])
    assert data.remarks == [
        "columns are called as array 'feature_names' says",
        "classes are called as array 'target_names' says",
    ]
    assert table(file, told={"class_names": ["n", "y"], "feature_names": ["d", "e", "f"]}, **more).remarks == []
    with pytest.raises(ValueError, match=r"shape \(40, 3\); 2 different feature_names are none of a table"):
        table(file, told={"feature_names": ["d", "e"]})


def test_names_of_classes_in_the_file_must_fit_numbers_and_are_not_asked_of_texts(file: Path) -> None:
    names = np.array(["a", "b", "c"])
    with pytest.raises(ValueError, match=r"array 'class_names', unless class_names says otherwise, has 3 names \['a'"):
        table(file, class_names=names)
    assert table(file, told={"class_names": ["n", "y"]}, class_names=names).class_names == ["n", "y"]
    assert table(file, y=names[LABELS], class_names=names).class_names == ["a", "b"]
    # A text for each sample is no list of names.
    assert table(file, classes=names[LABELS], told={"target": "y"}).class_names == ["0", "1"]


def test_a_class_that_a_split_lacks_is_said(file: Path) -> None:
    words = np.array(["train"] * 20 + ["val"] * 10 + ["test"] * 10)
    labels = np.where(np.arange(ROWS) == 30, 2, LABELS)
    data = table(file, y=labels, part=words, told={"split": "part", "target": "y"})
    assert data.remarks == ["no sample of train is of '2'", "no sample of val is of '2'"]


@pytest.mark.parametrize(
    ("shape", "dtype", "told", "expected"),
    [
        ((9, 12), "u1", {}, (1, 9, 12)),
        ((9, 12), "f4", {"kind": "images"}, (1, 9, 12)),
        ((9, 12), "f4", {"kind": "series", "channels_last": False}, (9, 12)),
        ((9, 12), "f4", {"kind": "series", "channels_last": True}, (12, 9)),
        ((3, 12), "f4", {"kind": "series"}, (3, 12)),
        ((12, 3), "i2", {"kind": "series"}, (3, 12)),
        ((12,), ">f4", {"kind": "series"}, (1, 12)),
        ((3, 9, 12), "u1", {}, (3, 9, 12)),
        ((9, 12, 3), "u2", {}, (3, 9, 12)),
        ((9, 12, 1), "f8", {}, (1, 9, 12)),
        ((9, 12, 7), "u1", {"channels_last": True}, (7, 9, 12)),
        ((12,), "f8", {"kind": "table"}, (12,)),
    ],
)
def test_axes_are_told_or_said(
    file: Path, shape: tuple[int, ...], dtype: str, told: dict[str, Any], expected: tuple[int, ...]
) -> None:
    x = np.random.default_rng(0).uniform(0, 200, (ROWS, *shape)).astype(dtype)
    names = np.array([str(row) for row in range(ROWS)])
    data = table(file, x=x, who=names, told={"kind": None, "target": "y", "row_id": "who", **told})
    assert data.shape == expected
    described = data.description.sample_names
    assert described is not None
    row = int(described[0])
    pixels = len(expected) == 3
    scale = {"u1": 255, "u2": 65535}.get(dtype, 1) if pixels else 1
    moved = np.moveaxis(x[row], -1, 0) if expected != (1, *shape) and expected != shape else x[row].reshape(expected)
    value = torch.from_numpy(moved.astype(np.float64)) / scale
    torch.testing.assert_close(shown(data)[0].double(), value, atol=1e-3 / scale, rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "dtype", "told", "message"),
    [
        ((12,), "f4", {}, "may be table or series; say kind: table or kind: series"),
        ((9, 12), "f4", {}, "may be series or images; say kind: series or kind: images"),
        ((4, 900), "u1", {}, "may be series or images; say kind: series or kind: images"),
        ((9, 12), "f4", {"kind": "series"}, r"\(40, 9, 12\): the axis after the samples or the last one may be the ch"),
        ((3, 12, 3), "u1", {}, "may be the channels; say channels_last: true or false"),
        ((9, 9, 9), "u1", {}, "may be the channels, and volumes are not supported; say channels_last"),
        ((9, 12), "u1", {"channels_last": True}, "without channels; leave out channels_last"),
        ((12,), "f4", {"kind": "images"}, "which is no images; inputs are numbers"),
        ((2, 9, 9, 9), "f4", {}, "which is no input; inputs are numbers"),
        ((12,), "U3", {"kind": "table", "inputs": "x"}, r"holds <U3 \(40, 12\), which is no table"),
    ],
)
def test_axes_that_may_be_two_things_are_refused(
    file: Path, shape: tuple[int, ...], dtype: str, told: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        table(file, x=np.ones((ROWS, *shape)).astype(dtype), told={"kind": None, **told})


def test_values_keep_what_float32_cannot_hold(file: Path) -> None:
    x = 1_700_000_000 + NUMBERED
    data = table(file, x=x, who=np.arange(ROWS), told={"row_id": "who", "target": "y"})
    named = data.description.sample_names
    assert named is not None
    assert shown(data)[:, 1].round(decimals=2).tolist() == [x[int(name), 1] for name in named[:24]]


def test_a_mask_has_the_axes_of_the_inputs(file: Path) -> None:
    images = np.zeros((ROWS, 9, 12, 3), dtype=np.uint8)
    images[:, 2, 5, 1] = 200
    for mask, shape in ((images, (3, 9, 12)), (images.any(axis=3), (1, 9, 12))):
        data = table(file, x=images, where=mask, told={"kind": None, "inputs": "x", "mask": "where"})
        marked = data.splits["test"]["mask"]
        assert (marked.shape[1:], marked.dtype) == (shape, torch.bool)
        assert marked[0].nonzero().tolist() == [[1 if shape[0] == 3 else 0, 2, 5]]
        assert data.description.masked
    with pytest.raises(
        ValueError, match=r"array 'where' has the shape \(40, 9\), which fits no inputs of \(40, 3, 9, 12\)"
    ):
        table(file, x=images, where=np.ones((ROWS, 9)), told={"kind": None, "inputs": "x", "mask": "where"})


def test_several_candidates_are_listed(file: Path) -> None:
    beats = write_beats(file)
    with pytest.raises(
        ValueError, match=r"several arrays that may be inputs: x_uv int16 \(120, 64\), rr float32 \(120, 3\)"
    ):
        loaded(beats)
    save_npz(file, x=NUMBERED, kind=LABELS, sort=LABELS)
    with pytest.raises(
        ValueError, match=r"several arrays that may be target: kind int64 \(40,\), sort .*; say target: N"
    ):
        loaded(file, kind="table")
    with pytest.raises(ValueError, match=r"has no array 'labels' \(target\); it has x float64 \(40, 3\), kind"):
        loaded(file, target="labels")
    save_npz(file, x=NUMBERED, y=LABELS.astype(object))
    with pytest.raises(ValueError, match=r"has no array that may be target; it has x .*, y object \(40,\)"):
        loaded(file, kind="table")
    save_npz(file, y=LABELS)
    with pytest.raises(ValueError, match=r"has no array that may be inputs; it has y int64 \(40,\)"):
        loaded(file)
    with pytest.raises(
        ValueError, match=r"has no array 'x' \(inputs\); it has images uint8 .*, each for train, val, test"
    ):
        loaded(write_npz(file), inputs="x")


def test_nan_is_refused_with_its_place(file: Path) -> None:
    x = NUMBERED.copy()
    x[[3, 9]] = np.nan
    arrays = {"x_train": NUMBERED, "x_test": x, "y_train": LABELS, "y_test": LABELS}
    with pytest.raises(
        ValueError, match="'x_train', 'x_test' has NaN or infinite values in 2 samples, the first sample 3 of test"
    ):
        loaded(save_npz(file, **arrays), kind="table")
    whom = np.where(np.arange(ROWS) == 5, np.nan, 1.0)
    with pytest.raises(ValueError, match="'whom' says nothing of 1 samples, the first sample 5"):
        table(file, whom=whom, told={"group": "whom", "target": "y"})


def test_splits_that_contradict_are_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="both say what the test samples are"):
        Npz("x.npz", split="part", test_path="y.npz")
    with pytest.raises(ValueError, match="needs test_path"):
        Npz("x.npz", val_path="y.npz")
    with pytest.raises(ValueError, match="limit must be at least 3"):
        Npz("x.npz", limit=2)
    words = np.array(["train", "rest"] * 20)
    with pytest.raises(ValueError, match=r"array 'part' says \['rest'\]; it may say train, val and test"):
        table(file, part=words, told={"split": "part", "target": "y"})
    parts = {f"{name}_{split}": values for split in SPLITS[:2] for name, values in (("x", NUMBERED), ("y", LABELS))}
    with pytest.raises(ValueError, match="has arrays for train and val but none for test: x_train, y_train, x_val"):
        loaded(save_npz(file, **parts))
    parts = {
        f"{name}_{split}": values for split in ("train", "test") for name, values in (("x", NUMBERED), ("y", LABELS))
    }
    with pytest.raises(ValueError, match=r"differ from split to split: float64 \(40, 3\), float32 \(40, 3\)"):
        loaded(save_npz(file, **{**parts, "x_test": NUMBERED.astype(np.float32)}), kind="table")
    parts |= {"part_train": words, "part_test": words}
    with pytest.raises(ValueError, match="both say the splits; leave out split"):
        loaded(save_npz(file, **parts), kind="table", target="y", split="part")


def test_what_is_no_npz_file_is_refused_in_one_line(file: Path) -> None:
    whole = write_npz(file).read_bytes()
    damaged = bytearray(whole)
    place = whole.index(b"train_images.npy") + 6000
    damaged[place] ^= 255
    single = file.with_suffix(".npy")
    np.save(single, LABELS)
    for content, message in (
        (whole[:-300], "is no NPZ file, or is cut short or damaged"),
        (b"", "is no NPZ file, or is cut short or damaged"),
        (bytes(damaged), "array 'train_images' is damaged"),
        (single.read_bytes(), r"is a single array \(.npy\); store inputs and target in one file"),
        (b"PK\x05\x06" + bytes(18), "holds no arrays"),
    ):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=message) as refused:
            loaded(file)
        assert "\n" not in str(refused.value)
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        loaded(file.parent / "nowhere.npz")
    np.savez(file, x=np.zeros(3, dtype=[("a", "f4")]), y=LABELS)
    with pytest.raises(ValueError, match="has no array that may be inputs"):
        loaded(file)


def test_the_real_beats_keep_patients_apart(real_data: Path) -> None:
    folder = real_data / "mitbih-beats"
    told = {"test_path": str(folder / "test.npz"), "inputs": "x_uv", "kind": "series", "group": "record"}
    data = loaded(folder / "train.npz", class_names=["N", "S", "V", "F"], **told)
    assert (data.shape, data.classes, len(data.splits["test"]["target"])) == ((1, 128), 4, 5888)
    patients = [set(data.splits[split]["groups"].tolist()) for split in SPLITS]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 44
    # Microvolts, as the file holds them.
    assert shown(data, "test").round().abs().max() == 3498
    assert data.splits["test"]["target"].bincount().tolist() == [3000, 1000, 1500, 388]
