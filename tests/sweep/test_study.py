"""What makes two sweeps one study."""

from pathlib import Path

from kdlab.sweep.definition import read_sweep
from kdlab.sweep.study import signature
from tests.experiments import content
from tests.sweep.sweeps import sweep_file


def test_another_way_of_evaluating_is_another_study(tmp_path: Path) -> None:
    signatures = []
    for probe in (16, 8, 16):
        path = sweep_file(tmp_path, {"evaluate": {**content()["evaluate"], "probe": probe}})
        signatures.append(signature(read_sweep(path), {"student 0": "fingerprint"}))
    first, other, again = signatures
    assert first == again
    assert [part for part in first if first[part] != other[part]] == ["evaluate"]


def test_another_fixed_value_is_another_study(tmp_path: Path) -> None:
    path = sweep_file(tmp_path)
    first, other = (signature(read_sweep(path, [f"trainer.max_epochs={epochs}"]), {}) for epochs in (2, 3))
    assert [part for part in first if first[part] != other[part]] == ["fixed"]
    assert "trainer.max_epochs=3" in other["fixed"]


def test_a_value_that_is_searched_is_not_fixed(tmp_path: Path) -> None:
    sweep = read_sweep(sweep_file(tmp_path))
    searched = {place for entry in sweep.space.entries for place in entry.sets}
    assert searched
    assert not searched & {text.partition("=")[0] for text in signature(sweep, {})["fixed"]}
