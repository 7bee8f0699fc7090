"""What may be cleaned away, on folders made by hand."""

from pathlib import Path

import pytest

from kdlab.records.cleaning import leftovers
from tests.stage_folders import begin_stage, complete_stage, write_execution


def test_the_stages_of_a_trial_that_runs_are_no_leftovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdlab.records.cleaning.YOUNG", -1.0)
    folders = {status: begin_stage(tmp_path, status.lower()) for status in ("RUNNING", "FINISHED")}
    for status, folder in folders.items():
        complete_stage(folder, files=False)
        write_execution(tmp_path, [folder], f"{status.lower()}-0000", experiment="digits sweeps", status=status)
    assert [one.path for one in leftovers(tmp_path, trials=True, caches=False)] == [folders["FINISHED"]]
    assert list(leftovers(tmp_path, trials=False, caches=False)) == []
