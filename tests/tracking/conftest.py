import shutil
from pathlib import Path

import pytest

from kdlab.tracking.tracker import Tracker


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template") / "mlruns"
    tracker = Tracker(folder, "template")
    tracker.begin("first", {}, {})
    tracker.end()
    return folder


@pytest.fixture
def mlruns(tmp_path: Path, template: Path) -> Path:
    """A folder with an empty database: making one takes seconds, copying it nothing."""
    shutil.copytree(template, tmp_path / "mlruns")
    return tmp_path / "mlruns"
