import os
import signal
import threading

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
