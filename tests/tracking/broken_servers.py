"""Servers on loopback, each broken in its own way."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

Answer = tuple[int, str, str]  # status, kind of content, content
#: Stands in answers for a run's id. MLflow remembers for the life of the process which server a run's artifacts go to.
RUN = "RUN-ID-OF-THIS-SERVER"


@contextmanager
def answering(answer: Callable[[str, int], Answer]) -> Iterator[str]:
    """A server that answers each call by its path and number; yields its address."""
    count, run = iter(range(10**9)), uuid4().hex

    class Handler(BaseHTTPRequestHandler):
        def handle(self) -> None:
            try:
                super().handle()
            except OSError:  # the caller no longer waits
                self.close_connection = True

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, kind, text = answer(self.path, next(count))
            content = text.replace(RUN, run).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT = do_PATCH = do_GET

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def plausible(path: str, number: int) -> Answer:
    """What a server would say, as far as a run is made of it."""
    info = {
        "run_id": RUN, "run_uuid": RUN, "experiment_id": "1", "status": "RUNNING", "lifecycle_stage": "active",
        "artifact_uri": f"mlflow-artifacts:/1/{RUN}/artifacts", "start_time": 1, "run_name": "n",
    }  # fmt: skip
    if "experiments/get-by-name" in path:
        said: object = {"experiment": {"experiment_id": "1", "name": "digits", "lifecycle_stage": "active"}}
    elif "runs/create" in path or "runs/get" in path:
        said = {"run": {"info": info, "data": {}}}
    else:
        said = {}
    return 200, "application/json", json.dumps(said)


def slow(path: str, number: int) -> Answer:
    time.sleep(3)
    return plausible(path, number)


def dying(path: str, number: int) -> Answer:
    """Lives for a few calls, and then never answers."""
    if number > 4:
        time.sleep(30)
    return plausible(path, number)


def saying(status: int, kind: str, text: str) -> Callable[[str, int], Answer]:
    return lambda path, number: (status, kind, text)


@contextmanager
def black_hole() -> Iterator[str]:
    """Accepts whoever comes, and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def dead(scheme: str = "http", rest: str = "") -> Iterator[str]:
    """Nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    yield f"{scheme}://127.0.0.1:{port}{rest}"


@contextmanager
def no_server(address: str) -> Iterator[str]:
    yield address


BROKEN = {
    "slow": lambda: answering(slow),
    "dead": dead,
    "black hole": black_hole,
    "refusing": lambda: answering(saying(500, "text/plain", "no")),
    "asking for a password": lambda: answering(saying(401, "text/html", "<h1>Unauthorized</h1>")),
    "forbidding": lambda: answering(saying(403, "application/json", '{"error_code": "PERMISSION_DENIED"}')),
    "answering a page": lambda: answering(saying(200, "text/html", "<html>welcome</html>")),
    "answering a list": lambda: answering(saying(200, "application/json", "[1, 2]")),
    "answering other things": lambda: answering(saying(200, "application/json", '{"experiment": 5, "run": []}')),
    "dying in the middle": lambda: answering(dying),
    "dead database": lambda: dead("postgresql", "/db"),
    "database that says nothing": lambda: silent_database(),
    "missing driver": lambda: no_server("mysql+nodriver://me@127.0.0.1/db"),
    "unknown scheme": lambda: no_server("gopher://127.0.0.1/db"),
    "malformed": lambda: no_server("http://[bad"),
    "malformed database": lambda: no_server("postgresql://me:a/b@host:port/db"),
}


@contextmanager
def silent_database() -> Iterator[str]:
    with black_hole() as address:
        yield address.replace("http://", "postgresql://me@") + "/db"
