import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from kdlab.interruption import held_back


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_waits_for_the_end_of_what_runs(number: signal.Signals) -> None:
    done, heard = [], []
    before = signal.signal(number, lambda *_: heard.append("stop"))
    try:
        with held_back():
            os.kill(os.getpid(), number)
            done.append(list(heard))
        assert done == [[]]
        assert heard == ["stop"]
    finally:
        signal.signal(number, before)


def test_a_second_stop_does_not_wait() -> None:
    before = signal.getsignal(signal.SIGINT)

    def stopped_twice() -> None:
        with held_back():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("the second one was held back too")

    with pytest.raises(KeyboardInterrupt):
        stopped_twice()
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_inside_is_the_one_that_is_told() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="inside"), held_back():
        raise ValueError("inside")
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_is_left_alone() -> None:
    before, found = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with held_back():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """One word for each SIGTERM that came through."""
    words: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda *_: words.append("stop"))
    yield words
    signal.signal(signal.SIGTERM, before)


def test_a_stop_is_not_lost_in_an_error_that_somebody_catches(heard: list[str]) -> None:
    with suppress(ValueError), held_back():
        os.kill(os.getpid(), signal.SIGTERM)
        raise ValueError("inside")
    assert heard == ["stop"]


def test_a_part_inside_may_be_stopped(heard: list[str]) -> None:
    with held_back() as stops:
        os.kill(os.getpid(), signal.SIGTERM)
        assert not heard
        with stops.let_through():
            assert heard == ["stop"]
            os.kill(os.getpid(), signal.SIGTERM)
            assert len(heard) == 2
        os.kill(os.getpid(), signal.SIGTERM)
        assert len(heard) == 2
    assert len(heard) == 3


def test_a_stop_that_waits_for_another_waits_for_both(heard: list[str]) -> None:
    with held_back():
        with held_back():
            os.kill(os.getpid(), signal.SIGTERM)
        assert not heard
    assert heard == ["stop"]


def test_a_second_stop_does_not_wait_however_deep_it_is_held() -> None:
    def stopped_twice() -> None:
        with held_back(), held_back():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("the second one was held back too")

    with pytest.raises(KeyboardInterrupt):
        stopped_twice()
