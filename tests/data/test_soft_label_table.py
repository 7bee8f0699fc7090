"""Files of soft labels: what is written is read to the last bit, and what is wrong is refused in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from kdlab.data.soft_label_table import ENDINGS, SoftLabelTable, read, write

VALUES = np.array([[1.0, -2.5], [1 / 3, 1e-7], [-123456.78, 0.1]], dtype=np.float32)


def table(**changes: Any) -> SoftLabelTable:
    return SoftLabelTable(
        **{"names": ["a/1", "7", "c"], "class_names": ["cat", "dog"], "values": VALUES, "holds": "logits", **changes}
    )


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("holds", ["logits", "probabilities"])
def test_what_is_written_is_read_to_the_last_bit(tmp_path: Path, ending: str, holds: str) -> None:
    path = tmp_path / f"soft{ending}"
    write(path, ending, table(holds=holds, labels=["cat", "", "7"]))
    again = read(str(path))
    assert (again.names, again.class_names, again.holds) == (["a/1", "7", "c"], ["cat", "dog"], holds)
    assert again.labels == ["cat", "", "7"]
    assert again.values.dtype == np.float32
    assert np.array_equal(again.values, VALUES)


@pytest.mark.parametrize("ending", ENDINGS)
def test_labels_may_be_left_out(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"soft{ending}"
    write(path, ending, table())
    assert read(str(path)).labels is None


@pytest.mark.parametrize("ending", ENDINGS)
def test_which_values_are_given_is_read_as_it_was_written(tmp_path: Path, ending: str) -> None:
    path, given = tmp_path / f"soft{ending}", np.array([[True, False], [False, True], [True, True]])
    write(path, ending, table(values=np.where(given, VALUES, 0).astype(np.float32), given=given))
    again = read(str(path))
    assert again.given is not None
    assert again.given.tolist() == given.tolist()
    assert np.array_equal(again.values, np.where(given, VALUES, 0))
    write(path, ending, table(given=np.ones((3, 2), dtype=bool)))
    assert read(str(path)).given is None, "nothing is left out"


@pytest.mark.parametrize("unsaid", [{"class_names": None}, {"holds": None}])
def test_nothing_is_written_that_could_not_be_understood(tmp_path: Path, unsaid: dict[str, None]) -> None:
    with pytest.raises(ValueError, match="written with the names of their classes, and what they hold"):
        write(tmp_path / "soft.csv", ".csv", table(**unsaid))
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_numbers_and_columns_called_by_the_class_alone_are_read(tmp_path: Path) -> None:
    (tmp_path / "soft.csv").write_text("dog,id,cat\n0.25,007,0.75\n0.5,8,0.5\n")
    read_table = read(str(tmp_path / "soft.csv"))
    assert (read_table.names, read_table.class_names, read_table.holds) == (["007", "8"], ["dog", "cat"], None)
    assert read_table.values.tolist() == [[0.25, 0.75], [0.5, 0.5]]


def test_an_array_may_come_without_names_of_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "soft.npz", id=np.arange(3), probabilities=np.eye(3)[:, :2])
    read_table = read(str(tmp_path / "soft.npz"))
    assert (read_table.names, read_table.class_names, read_table.holds) == (["0", "1", "2"], None, "probabilities")


CSV = {
    "": "cannot be read",
    "id,cat,dog\n": "has no rows",
    "id,cat\n1,0.5\n": r"has the columns \['id', 'cat'\]; one 'id' and a column for each class are needed",
    "name,cat,dog\n1,0.5,0.5\n": "one 'id' and a column for each class",
    "id,cat,dog\n1,0.5,0.5\n1,0.5,0.5\n": "has the sample '1' 2 times; one row a sample is needed",
    "id,cat,dog\n1,0.5,much\n": "holds string in column 'dog', where numbers are needed",
    "id,cat,dog\n1,0.5\n": "cannot be read: .*Expected 3 columns, got 2",
    "id,cat,dog\n1,0.5,0.5\n2,nan,0.5\n": "holds values that are not finite, as for the sample '2'",
    "id,cat,dog\n1,0.5,0.5\n2,inf,0.5\n": "holds values that are not finite, as for the sample '2'",
}


@pytest.mark.parametrize("text", CSV)
def test_a_table_that_holds_none_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "soft.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=CSV[text]) as refused:
        read(str(path))
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "no names": ({"logits": VALUES}, r"holds \['logits'\]; 'id' and one of \['logits', 'probabilities'\]"),
    "both": ({"id": np.arange(3), "logits": VALUES, "probabilities": VALUES}, "and one of"),
    "other lengths": ({"id": np.arange(2), "logits": VALUES}, r"logits of shape \(3, 2\) .* beside id of shape \(2,\)"),
    "one axis": ({"id": np.arange(3), "logits": VALUES[:, 0]}, r"logits of shape \(3,\)"),
    "texts": ({"id": np.arange(3), "logits": VALUES.astype(str)}, "and type <U"),
    "other labels": ({"id": np.arange(3), "logits": VALUES, "label": np.array(["a"])}, "has 1 labels of 3 samples"),
    "other classes": (
        {"id": np.arange(3), "logits": VALUES, "class_names": np.array(["a"])},
        "names 1 classes beside 2",
    ),
    "other values": (
        {"id": np.arange(3), "logits": VALUES, "given": np.ones((3, 1), dtype=bool)},
        r"given of shape \(3, 1\) beside logits of shape \(3, 2\)",
    ),
    "objects": ({"id": np.array([1, "a", None], dtype=object), "logits": VALUES}, "Object arrays cannot be loaded"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_are_none_are_refused(tmp_path: Path, name: str) -> None:
    arrays, message = ARRAYS[name]
    np.savez(tmp_path / "soft.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read(str(tmp_path / "soft.npz"))


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_a_damaged_file_is_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"soft{ending}"
    write(path, ending, table())
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=f"soft{ending} cannot be read"):
        read(str(path))


def test_other_endings_and_absent_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "soft.pkl").touch()
    with pytest.raises(ValueError, match=r"soft.pkl is no file of soft labels by its ending; there are .parquet, .pq"):
        read(str(tmp_path / "soft.pkl"))
    with pytest.raises(FileNotFoundError, match=r"no file or folder .*soft.csv"):
        read(str(tmp_path / "soft.csv"))


def test_columns_of_two_kinds_are_classes_of_long_names(tmp_path: Path) -> None:
    columns = {"id": ["a"], "logit:x": [1.0], "probability:y": [0.5]}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "soft.parquet")
    assert read(str(tmp_path / "soft.parquet")).holds is None
