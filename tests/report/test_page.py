"""Which figures stand in the page of a report."""

from pathlib import Path

import pytest

import kdlab.report.page
from kdlab.report.page import _pictures
from tests.report.test_winners import summary


def test_a_figure_that_is_too_large_leaves_room_for_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = summary(tmp_path, {"student": {"test/accuracy": [0.7]}})
    folder = shown.stages[0].uses[0].folder.path / "figures"
    folder.mkdir(exist_ok=True)
    for name, size in (("a", 10), ("b", 100), ("c", 20)):
        (folder / f"{name}.png").write_bytes(b"x" * size)
    monkeypatch.setattr(kdlab.report.page, "ROOM", 30)
    captions = [picture.text for picture in _pictures(shown)]
    assert [caption.rpartition(": ")[2] for caption in captions[:2]] == ["a", "c"]
    assert captions[2].startswith("Further figures are in the stage folders")
