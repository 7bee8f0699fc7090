import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import kdlab.records.files
from kdlab.records.files import SMALL, digest, remove_abandoned, replacing


def test_writers_at_the_same_time_take_nothing_from_each_other(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    texts = [str(number) * 10_000 for number in range(8)]

    def write(text: str) -> None:
        for _ in range(20):
            with replacing(path) as scratch:
                scratch.write_text(text)
            assert path.read_text() in texts

    with ThreadPoolExecutor(len(texts)) as pool:
        list(pool.map(write, texts))
    assert list(path.parent.iterdir()) == [path]


def test_after_an_error_the_file_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("before")

    def fail() -> None:
        with replacing(path) as scratch:
            scratch.write_text("half")
            raise ValueError("halfway")

    with pytest.raises(ValueError, match="halfway"):
        fail()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_and_then_its_place_are_on_the_disk_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "page.html", []
    sync, put = kdlab.records.files.to_disk, Path.replace

    def synced(what: Path) -> None:
        seen.append(("synced", "folder" if what.is_dir() else what.read_text()))
        sync(what)

    def placed(scratch: Path, target: Path) -> Path:
        seen.append(("placed", scratch.read_text()))
        return put(scratch, target)

    monkeypatch.setattr(kdlab.records.files, "to_disk", synced)
    monkeypatch.setattr(Path, "replace", placed)
    with replacing(path) as scratch:
        scratch.write_text("whole")
    assert seen == [("synced", "whole"), ("placed", "whole"), ("synced", "folder")]


def test_nobody_takes_away_what_is_being_written(tmp_path: Path) -> None:
    with replacing(tmp_path / "page.html") as scratch:
        remove_abandoned(tmp_path)
        scratch.write_text("half")
        remove_abandoned(tmp_path)
        scratch.write_text("whole")
    assert (tmp_path / "page.html").read_text() == "whole"


def test_a_scratch_file_that_nobody_writes_is_removed_and_other_hidden_files_stay(tmp_path: Path) -> None:
    for name in (".page.html.0123abcd", ".hidden", ".page.html.nothexxx", "page.html.0123abcd"):
        (tmp_path / name).touch()
    remove_abandoned(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".hidden", ".page.html.nothexxx", "page.html.0123abcd"}


def test_a_writer_whose_scratch_file_was_taken_before_it_was_locked_takes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, taken = os.open, []

    def opens(path: Path, flags: int, mode: int = 0o777) -> int:
        found = opened(path, flags, mode)
        if flags & os.O_EXCL and not taken:
            taken.append(path)
            Path(path).unlink()
        return found

    monkeypatch.setattr(os, "open", opens)
    with replacing(tmp_path / "page.html") as scratch:
        assert scratch not in taken
        assert scratch.exists()
        scratch.write_text("whole")
    assert (tmp_path / "page.html").read_text() == "whole"


def test_a_digest_of_a_large_file_is_remembered_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(bytes(SMALL))
    small.write_bytes(b"1")
    read: list[Path] = []
    reads = kdlab.records.files._digest

    def noted(path: Path) -> str:
        read.append(path)
        return reads(path)

    monkeypatch.setattr(kdlab.records.files, "_digest", noted)
    before = [digest(path) for path in (large, small, large, small)]
    assert read == [large, small, small]
    assert before[:2] == before[2:]
    os.utime(large, (1, 1))
    assert digest(large) == before[0]
    assert read == [large, small, small, large]
