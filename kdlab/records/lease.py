"""Whether whoever holds something still lives: a file that is locked for as long as its holder does."""

import socket
from pathlib import Path
from time import time

from filelock import FileLock, Timeout


class Lease:
    """A locked file; the kernel lifts the lock however the holder's process ends, and the file stays behind then.

    Any thread of the process may give back what another one took.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path, thread_local=False)

    def hold(self, seconds: float = -1) -> None:
        """Take it, and wait for a holder to leave it, without end where the seconds are negative.

        Raises:
            Timeout: If its holder still lives then.
        """
        self._lock.acquire(timeout=seconds)

    def take(self) -> bool:
        """Take it unless its holder lives; whether it is held here now."""
        try:
            self.hold(0)
        except Timeout:
            return False
        return True

    def free(self) -> bool:
        """Whether nobody holds it."""
        taken = self.take()
        self.leave()
        return taken

    def leave(self) -> None:
        """Give it back if it is held here; its file stays."""
        self._lock.release()

    def end(self) -> None:
        """Remove its file, and give it back."""
        self.path.unlink(missing_ok=True)
        self.leave()


def alive_elsewhere(host: object, last: float, silence: float) -> bool:
    """Whether a holder of another machine, whose locks may be invisible here, may still live.

    Args:
        host: the holder's machine.
        last: when the holder last gave a sign, in seconds since 1970.
        silence: seconds without a sign after which it counts as gone.
    """
    return host != socket.gethostname() and time() - last < silence
