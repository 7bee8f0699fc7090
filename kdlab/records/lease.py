"""A lease tells whether its holder is alive: it is a file that stays locked as long as the holding process lives."""

import socket
from pathlib import Path
from time import time

from filelock import FileLock, Timeout


class Lease:
    """A lock file. The kernel releases the lock however the holder's process ends; after a kill the file itself stays.

    Any thread of the process may give back what another thread took.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path, thread_local=False)

    def hold(self, seconds: float = -1) -> None:
        """Take the lease, waiting for the present holder to give it back.

        Args:
            seconds: how long to wait at most; a negative number waits without end.

        Raises:
            Timeout: If another holder still has it after that time.
        """
        self._lock.acquire(timeout=seconds)

    def take(self) -> bool:
        """Take the lease without waiting, and return whether this process holds it now."""
        try:
            self.hold(0)
        except Timeout:
            return False
        return True

    def free(self) -> bool:
        """Return whether nobody holds the lease."""
        taken = self.take()
        self.leave()
        return taken

    def leave(self) -> None:
        """Give the lease back if it is held here; its file stays."""
        self._lock.release()

    def end(self) -> None:
        """Remove the file, then give the lease back."""
        # Removed while it is still held: afterwards the file may be another holder's.
        self.path.unlink(missing_ok=True)
        self.leave()


def alive_elsewhere(host: object, last: float, silence: float) -> bool:
    """Return whether a holder on another machine may still be alive; its locks may not be visible from here.

    It returns False for a holder on this machine, whose lock tells.

    Args:
        host: the name of the holder's machine.
        last: when the holder last gave a sign of life, in seconds since 1970.
        silence: how many seconds without a sign make the holder count as gone.
    """
    return host != socket.gethostname() and time() - last < silence
