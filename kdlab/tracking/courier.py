"""A thread that sends news to an MLflow store, so that no training waits for the store."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from kdlab.tracking.addresses import shown
from kdlab.tracking.store import LOCAL, Store, address, damage, failures

logger = logging.getLogger(__name__)

#: Seconds without an answer for which a server is waited for, in all; what is not sent by then is sent later.
PATIENCE = 2.0
#: Seconds for which a server that keeps answering is waited for at the end of a command.
WHILE_ANSWERING = 30.0
#: The two bounds for a database that is a file, which must be made first and may be shared: without answer, and in all.
LOCAL_SILENCE, LOCAL_WAIT = 60.0, 300.0
#: Seconds of pause after a failure: the first pause, which doubles each time, and the longest.
REST, LONGEST_REST = 5.0, 60.0
#: So many executions may wait to be sent; if there are more, the oldest is left to the next command.
ROOM = 32


class Delivery(Protocol):
    """The news of one execution."""

    @property
    def over(self) -> bool:
        """Whether nothing more will be added."""

    def send(self, store: Store) -> None:
        """Send everything new to the store; what was sent is not sent again."""

    def told(self) -> bool:
        """Return whether everything was sent."""

    def leave(self) -> None:
        """Leave what was not sent to the next command."""


class Courier:
    """Sends deliveries one after the other, in a thread of its own.

    The post is the queue of deliveries that have news, each once. It never holds the news themselves, which are in the
    folders on disk. The thread also opens the store. It ends when the post is empty, and it never keeps the process
    alive, whatever the store does.

    Args:
        mlruns: Folder of the stages, of the database and of the artifacts.
        uri: Any MLflow tracking URI; None means ``MLFLOW_TRACKING_URI``, or else the database inside ``mlruns``.
        settle: Called with a store that was just opened, to send what earlier processes left.
    """

    def __init__(self, mlruns: Path, uri: str | None, settle: Callable[[Store], None]) -> None:
        self.mlruns, (self.uri, self.key) = mlruns, address(mlruns, uri)
        self._settle = settle
        self._post: dict[Delivery, None] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._store: Store | None = None
        self._busy = self._warned = False
        self._rest, self._rests_until = REST, 0.0
        self._answered_at = 0.0
        self._failures = 0
        self._patience = LOCAL_SILENCE if is_file(self.uri) else PATIENCE

    def post(self, delivery: Delivery, at_once: bool = False) -> None:
        """Add a delivery to the post because it has news; this returns at once.

        Args:
            delivery: the delivery.
            at_once: whether it is sent without a pause even if the store has just failed.
        """
        with self._changed:
            self._post.setdefault(delivery)
            while len(self._post) > ROOM:
                oldest = next(iter(self._post))
                del self._post[oldest]
                oldest.leave()
            if at_once:
                self._rests_until = 0.0
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="kdlab tracking", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait(self, delivery: Delivery, last: bool) -> bool:
        """Wait, for a limited time, until a delivery is sent; return whether it was.

        A server may be silent for ``PATIENCE`` seconds in all waits of this courier together. A server that keeps
        answering is waited for up to ``WHILE_ANSWERING`` seconds at the end of a command. A database that is a file,
        such as the one in ``mlruns``, gets more time, because everything should be in it when the command ends. A
        failure ends the wait.

        Args:
            delivery: a delivery that is over.
            last: whether the command ends after this; if more training follows, a server gets at most ``PATIENCE``
                seconds.
        """
        bound = LOCAL_WAIT if is_file(self.uri) else WHILE_ANSWERING if last else self._patience
        started, failed = time.monotonic(), self._failures
        with self._changed:
            while not delivery.told() and self._failures == failed and self._alive():
                now = time.monotonic()
                heard = max(started, self._answered_at)
                left = min(heard + self._patience - now, started + bound - now)
                if left <= 0:
                    # A store that was late once is not waited for again, so that all waits together keep the bound.
                    self._patience = 0.0
                    return False
                self._changed.wait(min(left, 0.5))
        return delivery.told()

    def _alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def warn(self, text: str) -> None:
        """Log what hinders tracking; only the first such warning of this courier is logged."""
        if not self._warned:
            self._warned = True
            logger.warning("%s", text)

    def warn_of_lag(self) -> None:
        """Warn that the store does not have everything when the command ends, unless a reason was logged already."""
        self.warn(
            f"MLflow ({self._where}) has not taken everything in time, the numbers stay in {self.mlruns.name} and "
            "follow with a later command, such as kdlab run or kdlab ui"
        )

    @property
    def _where(self) -> str:
        return "the database in mlruns" if self.key == LOCAL else shown(self.uri)

    def _work(self) -> None:
        """Send deliveries until there are none; this runs in the thread."""
        while True:
            with self._changed:
                while self._post and (rest := self._rests_until - time.monotonic()) > 0:
                    self._changed.wait(rest)
                if not self._post:
                    self._thread = None  # the next post starts another
                    self._changed.notify_all()
                    return
                delivery = next(iter(self._post))
                del self._post[delivery]
            self._tell(delivery)

    def _tell(self, delivery: Delivery) -> None:
        try:
            if self._store is None:
                store = Store(self.mlruns, self.uri, self._answered)
                self._settle(store)
                self._store = store
            delivery.send(self._store)
        except failures() as error:
            self._fail(delivery, error)
        else:
            self._rest = REST
        with self._changed:
            self._changed.notify_all()

    def _fail(self, delivery: Delivery, error: Exception) -> None:
        """Pause before the next attempt; a delivery that is over is released for the next command to finish."""
        self._store = None  # it is opened again: a run may have been deleted, or the server replaced
        self.warn(self._explained(error))
        with self._changed:
            if delivery.over:
                delivery.leave()
            else:
                self._post.setdefault(delivery)
            self._failures += 1
            self._rests_until = time.monotonic() + self._rest
            self._rest = min(2 * self._rest, LONGEST_REST)

    def _explained(self, error: Exception) -> str:
        if self.key == LOCAL and (damaged := damage(self.mlruns)) is not None:
            return damaged
        reason = " ".join(shown(str(error), self.uri).split())[:160] or type(error).__name__
        return (
            f"MLflow ({self._where}) is not reachable, training goes on, the numbers stay in {self.mlruns.name} "
            f"and follow with a later command: {reason}"
        )

    def _answered(self) -> None:
        self._answered_at = time.monotonic()


def is_file(uri: str) -> bool:
    """Return whether a store is a file of this machine, which may be slow but is never unreachable."""
    return uri.startswith("sqlite")


def within(seconds: float, call: Callable[[], None]) -> None:
    """Make a call that may hang, in a thread of its own, and wait for it for a limited time.

    Args:
        seconds: how long to wait at most.
        call: the call.

    Raises:
        TimeoutError: If it has not returned by then; it then continues in its thread.
        One of ``failures()``: What the call raised.
    """
    raised: list[Exception] = []

    def run() -> None:
        try:
            call()
        except failures() as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="kdlab tracking", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds:g} s")
    if raised:
        raise raised[0]
