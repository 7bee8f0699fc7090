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
