"""A crew without processes: who is replaced, and when deaths are no accident any more."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import kdlab.workers.crew
from kdlab.errors import Interrupted, StageError
from kdlab.workers.crew import TOO_MANY_DEATHS, Crew, Ending


class Played:
    """A worker that ends as it was written, at the first look."""

    def __init__(self, ending: Ending) -> None:
        self.ending, self.stopped = ending, False

    def poll(self) -> Ending | None:
        return self.ending

    def terminate(self) -> None:
        self.stopped = True

    def kill(self) -> None:
        self.stopped = True


class Playing:
    """Starts workers that end with these codes, one after the other."""

    here = True
    workers = 1

    def __init__(self, codes: Sequence[int]) -> None:
        self.codes: Iterator[int] = iter(codes)
        self.started: list[int] = []

    def start(self, index: int, command: Sequence[str], log: Path) -> Played:
        self.started.append(index)
        return Played(Ending(next(self.codes), "out of memory"))


def crew(
    folder: Path, codes: Sequence[int], achieved: Sequence[int], monkeypatch: pytest.MonkeyPatch
) -> tuple[Crew, Playing]:
    monkeypatch.setattr(kdlab.workers.crew, "LOOK", 0.0)
    starter, done = Playing(codes), iter(achieved)
    return Crew(["kdlab"], starter, folder / "logs", lambda: next(done)), starter


def test_deaths_with_something_done_in_between_are_accidents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 3 * TOO_MANY_DEATHS
    played, starter = crew(tmp_path, [*[-9] * count, 0], range(1, count + 1), monkeypatch)
    played.run(lambda: None)
    assert starter.started == [0] * (count + 1)


def test_deaths_with_nothing_done_in_between_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played, starter = crew(tmp_path, [-9] * 99, [1, *[2] * 99], monkeypatch)
    with pytest.raises(StageError, match=f"{TOO_MANY_DEATHS} workers died .* the last says: out of memory"):
        played.run(lambda: None)
    # The first death came before something was done; from then on nothing was.
    assert len(starter.started) == TOO_MANY_DEATHS + 1


def test_one_that_refuses_ends_it_with_its_words_and_one_that_was_stopped_stops_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played, _ = crew(tmp_path, [2], [], monkeypatch)
    with pytest.raises(StageError, match="out of memory"):
        played.run(lambda: None)
    played, _ = crew(tmp_path, [130], [], monkeypatch)
    with pytest.raises(Interrupted):
        played.run(lambda: None)
