"""A study's storage: made by many at once, and whole after a stop."""

import os
import signal
from pathlib import Path

import optuna
import pytest
from optuna.storages._rdb import models
from sqlalchemy import Engine, event

from kdlab.sweep.storage import open_storage, quiet
from kdlab.sweep.study_place import StudyPlace, place_of


@pytest.fixture
def place(tmp_path: Path) -> StudyPlace:
    return place_of("made_up", None, tmp_path / "mlruns")


def test_of_two_that_make_one_storage_the_later_takes_what_the_other_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = f"sqlite:///{tmp_path}/shared.db"
    here, there = (place_of("x", shared, tmp_path / name) for name in ("here", "there"))
    tables = models.BaseModel.metadata
    make = tables.create_all

    def overtaken(engine: Engine) -> None:
        monkeypatch.setattr(tables, "create_all", make)
        open_storage(there)
        make(engine, checkfirst=False)  # it has looked already, and there was nothing

    monkeypatch.setattr(tables, "create_all", overtaken)
    storage = open_storage(here)
    assert storage.get_current_version() == storage.get_head_version()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_in_the_middle_of_a_write_waits_for_its_end(place: StudyPlace, number: signal.Signals) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(number, interrupted)
    try:
        with quiet():
            storage = open_storage(place)
            study = optuna.create_study(study_name=place.name, storage=storage)
            event.listen(storage.engine, "commit", lambda connection: os.kill(os.getpid(), number), once=True)
            with pytest.raises(KeyboardInterrupt):
                study.set_user_attr("first", True)
            study.set_user_attr("second", True)
            seen = optuna.load_study(study_name=place.name, storage=open_storage(place)).user_attrs
    finally:
        signal.signal(number, before)
    assert seen == {"first": True, "second": True}
