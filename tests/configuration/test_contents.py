from pathlib import Path

import numpy as np
import pytest

from kdlab.configuration import contents
from tests.changes import rewrite


def test_a_large_file_is_remembered_by_size_and_time_and_a_small_one_is_read_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert contents.SMALL == 64 * 2**20
    large, small, memory = tmp_path / "large", tmp_path / "small", tmp_path / "digests.json"
    large.write_bytes(bytes(200))
    small.write_bytes(bytes(50))
    read: list[Path] = []
    reading = contents._read

    def noting(file: Path) -> str:
        read.append(file)
        return reading(file)

    monkeypatch.setattr(contents, "SMALL", 100)
    monkeypatch.setattr(contents, "_read", noting)
    first = [contents.Contents(memory).of(file) for file in (large, small)]
    assert [contents.Contents(memory).of(file) for file in (large, small)] == first
    assert read == [large, small, small]
    rewrite(small)
    assert contents.Contents(memory).of(small) != first[1], "size and time were kept"
    large.write_bytes(bytes([1]) * 200)
    assert contents.Contents(memory).of(large) != first[0]
    memory.write_text("damaged")
    assert contents.Contents(memory).of(large) == contents.Contents(None).of(large)


def test_a_folder_is_its_names_and_contents(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "a").mkdir(parents=True)
    np.save(folder / "a" / "x.npy", np.arange(3))
    (folder / "again").symlink_to(folder)  # links in a circle end
    found = [contents.Contents().of(folder)]
    (folder / "b").mkdir()
    found.append(contents.Contents().of(folder))
    (folder / "a" / "x.npy").rename(folder / "a" / "y.npy")
    found.append(contents.Contents().of(folder))
    assert len(set(found)) == 3
