from pathlib import Path

from kdlab.tracking.records import unsent
from tests.stage_folders import begin_stage, complete_stage
from tests.tracking.broken_servers import BROKEN
from tests.tracking.reading import tracked


def test_stages_that_no_store_has_yet_are_named_until_it_has_them(mlruns: Path) -> None:
    folder = begin_stage(mlruns)
    complete_stage(folder)
    with BROKEN["malformed"]() as address:
        away = tracked(mlruns, uri=address)
        away.finish(folder)
        assert not away.end()
    assert unsent(mlruns) == {folder.name}
    other = begin_stage(mlruns, seed=1)
    complete_stage(other)
    here = tracked(mlruns, "run2")
    here.finish(other)
    assert here.end()
    assert unsent(mlruns) == {folder.name}
