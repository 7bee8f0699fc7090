from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kdlab.files import replacing


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
