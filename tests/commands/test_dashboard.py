"""The dashboard opens the study that the sweep of the same file has."""

import importlib.util
from argparse import Namespace
from pathlib import Path

import pytest

import kdlab.sweep.study_place
from kdlab.commands.sweeps import dashboard


class Asked(Exception):
    """Instead of a server: the study's name."""


@pytest.mark.parametrize(
    ("file", "study", "name"),
    [("digits.sweep.yaml", None, "digits"), ("digits.v2.sweep.yaml", None, "digits.v2"), ("digits.yaml", "own", "own")],
)
def test_a_study_is_called_by_all_of_its_file_s_name(
    file: str, study: str | None, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def place_of(name: str, *_: object) -> None:
        raise Asked(name)

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(kdlab.sweep.study_place, "place_of", place_of)
    (tmp_path / file).touch()
    with pytest.raises(Asked, match=f"^{name}$"):
        dashboard(Namespace(file=tmp_path / file, study=study, storage=None, mlruns=tmp_path, port=8080))
