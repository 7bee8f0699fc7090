"""The thread that tells a store what is new, so that no training waits for it."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from kdlab.tracking.addresses import shown
from kdlab.tracking.store import LOCAL, Store, address, damage, failures

logger = logging.getLogger(__name__)

#: Seconds that a server may take in all of those that nobody gets anything for: what is not sent then follows later.
PATIENCE = 2.0
#: Seconds at the end of a command that a server is waited for which answers all along.
WHILE_ANSWERING = 30.0
#: The same for a database that is a file, which is made first and may be shared with others: silence, and in all.
LOCAL_SILENCE, LOCAL_WAIT = 60.0, 300.0
#: Seconds without a new attempt after a failure: the first, and at most.
REST, LONGEST_REST = 5.0, 60.0
#: Executions that may wait to be told; of more, the oldest is left to the next command.
ROOM = 32


class Delivery(Protocol):
    """What one execution has to tell."""

    @property
    def over(self) -> bool:
        """Whether nothing will be added."""

    def send(self, store: Store) -> None:
        """Tell all that is new; what was told is not told again."""

    def told(self) -> bool:
        """Whether nothing is left to tell."""

    def leave(self) -> None:
        """Leave the rest to the next command."""


class Courier:
    """Sends what deliveries have, one after the other, in a thread of its own.

    The post holds who has news, each delivery once, never the news themselves: those lie in the folders. The thread
    also opens the store; it ends when the post is empty, and with the process, whatever the store does.

    Args:
        mlruns: Folder of the stages, of the database and of the artifacts.
        uri: Any MLflow tracking URI; None is ``MLFLOW_TRACKING_URI``, or else the database inside ``mlruns``.
        settle: What to do with a store that was just opened: send what earlier processes left.
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
        """Say that a delivery has news; returns at once.

        Args:
            delivery: which.
            at_once: also where the store failed a moment ago.
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
        """Wait until a delivery is told, with bounds; whether it is.

        A server is waited for while it answers: at most ``PATIENCE`` seconds without an answer, once in the life of
        the courier, and at most ``WHILE_ANSWERING`` at the end of a command. A database that is a file, as the one in
        ``mlruns``, is given longer, since everything shall be there when the command ends. A failure ends the wait.

        Args:
            delivery: which; it is over.
            last: whether the command ends; where more training follows, a server gets no more than ``PATIENCE``.
        """
        bound = LOCAL_WAIT if is_file(self.uri) else WHILE_ANSWERING if last else self._patience
        started, failed = time.monotonic(), self._failures
        with self._changed:
            while not delivery.told() and self._failures == failed and self._alive():
                now = time.monotonic()
                heard = max(started, self._answered_at)
                left = min(heard + self._patience - now, started + bound - now)
                if left <= 0:
                    # Who is late once is not waited for again, so that all waits together keep the bound.
                    self._patience = 0.0
                    return False
                self._changed.wait(min(left, 0.5))
        return delivery.told()

    def _alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def warn(self, text: str) -> None:
        """Say once in a life what holds tracking up."""
        if not self._warned:
            self._warned = True
            logger.warning("%s", text)

    def warn_of_lag(self) -> None:
        """Say, unless a reason was said, that the store has not everything when the command ends."""
        self.warn(
            f"MLflow ({self._where}) has not taken everything in time, the numbers stay in {self.mlruns.name} and "
            "follow with a later command, such as kdlab run or kdlab ui"
        )

    @property
    def _where(self) -> str:
        return "the database in mlruns" if self.key == LOCAL else shown(self.uri)

    def _work(self) -> None:
        """The thread: until there is nothing to tell."""
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
        """Rest, and try again; what is over is left to the next command, which finds it unlocked."""
        self._store = None  # opened anew: the run may have been deleted, the server replaced
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
    """Whether a store is a file of this machine, which is slow at times but never away."""
    return uri.startswith("sqlite")


def within(seconds: float, call: Callable[[], None]) -> None:
    """Make a call that may hang, in a thread that nobody waits for any longer than this.

    Raises:
        TimeoutError: If it has not returned by then; it goes on.
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
