"""Opening an MLflow store, which is a database inside ``mlruns`` or any server; several processes may do so at once."""

import logging
import os
import re
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from filelock import FileLock

from kdlab.records.files import read_json, write_json
from kdlab.tracking.addresses import store_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

# The tables and columns in which MLflow stores absolute paths of artifacts.
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
# Short enough that an unreachable server does not hold up training; a user's own settings have precedence.
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
# With this, MLflow's page shows the experiment as one of training and not of prompts and agents.
KIND = {"mlflow.experimentKind": "custom_model_development"}


def failures() -> tuple[type[Exception], ...]:
    """Return the errors of a store that is unreachable, full, locked, too old or misnamed, or that answers nonsense.

    Errors of the HTTP library are OSErrors, a missing driver is an ImportError, and a malformed address is a
    ValueError. If a server is not MLflow, its answer can lead to any of the last four.
    """
    from alembic.util import CommandError
    from google.protobuf.json_format import Error as AnswerError  # type: ignore[import-untyped]  # it has none
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    failing = (MlflowException, SQLAlchemyError, CommandError, sqlite3.Error, OSError, ImportError, ValueError)
    return (*failing, AnswerError, TypeError, LookupError, AttributeError)


def quiet() -> None:
    """Suppress notices of MLflow and alembic on the terminal, and shorten MLflow's waiting times."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401  sets its logger's level at import

    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.ERROR)


def database(mlruns: Path) -> str:
    """Return the address of the database inside ``mlruns``."""
    # SQLAlchemy would read these three as parts of the address and not of the path.
    path = str(mlruns.resolve() / "mlflow.db").replace("%", "%25").replace("?", "%3F").replace("#", "%23")
    return f"sqlite:///{path}"


def artifacts(mlruns: Path) -> str:
    """Return the artifacts' root as MLflow wants it: a plain path, or an address if the path has a percent sign."""
    root = mlruns.resolve() / "artifacts"
    return root.as_uri() if "%" in str(root) else str(root)


class Answering:
    """MLflow's client, with a call after each of its answers.

    Args:
        client: MLflow's client.
        answered: called after each answer.
    """

    def __init__(self, client: "MlflowClient", answered: Callable[[], None]) -> None:
        self._client, self._answered = client, answered

    def __getattr__(self, name: str) -> Callable[..., object]:
        method = getattr(self._client, name)

        def call(*given: object, **named: object) -> object:
            answer = method(*given, **named)
            self._answered()
            return answer

        return call


class Store:
    """An opened MLflow store.

    Args:
        mlruns: Folder of the database, the artifacts and the stage folders.
        uri: Any MLflow tracking URI; None means ``MLFLOW_TRACKING_URI``, or else the database inside ``mlruns``.
        answered: Called whenever the store has answered.

    Raises:
        One of ``failures()``: If the store cannot be opened.
    """

    client: "MlflowClient"

    def __init__(self, mlruns: Path, uri: str | None = None, answered: Callable[[], None] = lambda: None) -> None:
        quiet()
        from mlflow import MlflowClient

        self.mlruns = mlruns
        self.uri, self.key = address(mlruns, uri)
        self._experiments: dict[str, str] = {}
        (mlruns / "tracking").mkdir(parents=True, exist_ok=True)
        # Two processes that create one database at the same time both fail in MLflow, hence the lock.
        with FileLock(mlruns / "tracking" / "start.lock", timeout=120):
            self.home = self._settle_in()
            if self.uri == database(mlruns):
                make_whole(self.uri, mlruns / "mlflow.db")
            self.client = cast("MlflowClient", Answering(MlflowClient(self.uri), answered))

    def discard_uploads(self, run: str) -> None:
        """Remove what a killed process left of an upload to a run inside ``mlruns``.

        Only the caller may be sending to that run, since the files of an upload in progress would be removed too.
        """
        for scratch in (self.mlruns / "artifacts").glob(f"*/{run}/artifacts/**/.artifact.uploading.*"):
            scratch.unlink(missing_ok=True)

    def _settle_in(self) -> str:
        """Return the folder's identity, which is made at the first start, and repair the database of a moved folder."""
        path, here = self.mlruns / "tracking" / "home.json", artifacts(self.mlruns)
        home = read_json(path) or {"id": uuid.uuid4().hex, "artifacts": None}
        if home["artifacts"] != here:
            if home["artifacts"] is not None:
                move_artifacts(self.mlruns / "mlflow.db", home["artifacts"], here)
            write_json(path, {"id": home["id"], "artifacts": here})
        return str(home["id"])

    def experiment(self, name: str) -> str:
        """Return an experiment's id; it is created if it does not exist, and restored if it was deleted."""
        if name not in self._experiments:
            with FileLock(self.mlruns / "tracking" / "start.lock", timeout=120):
                self._experiments[name] = self._find_or_create(name)
        return self._experiments[name]

    def _find_or_create(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            folder = re.sub(r"[^\w.-]", "_", name).lstrip(".") or "_"
            location = None if self.uri.startswith("http") else f"{artifacts(self.mlruns)}/{folder}"
            try:
                return str(self.client.create_experiment(name, artifact_location=location, tags=KIND))
            except MlflowException:  # another machine may have made it meanwhile
                experiment = self.client.get_experiment_by_name(name)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage == "deleted":
            self.client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)


LOCAL = "mlruns/mlflow.db"
# A file without these tables is not a database of MLflow.
NEEDED = {"experiments", "runs", "metrics", "params", "tags", "alembic_version"}


def make_whole(uri: str, path: Path) -> None:
    """Make MLflow's tables under another name first; a process killed half-way would leave a file that never opens.

    Raises:
        sqlite3.DatabaseError: If the database is an empty file.
    """
    if path.exists():
        # MLflow would fill it, and nobody would notice that its former content is missing.
        if path.stat().st_size == 0:
            raise sqlite3.DatabaseError(f"{path.name} is empty")
        return
    from mlflow import MlflowClient

    scratch = path.with_name(f".new-{path.name}")
    for left in (
        scratch,
        scratch.with_name(f"{scratch.name}-journal"),
    ):  # SQLite would roll a journal back into the new database
        left.unlink(missing_ok=True)
    MlflowClient(uri.removesuffix(path.name) + scratch.name).search_experiments(max_results=1)
    scratch.replace(path)


def damage(mlruns: Path) -> str | None:
    """Return what is wrong with the database inside ``mlruns`` and what to do, None if it is whole or not there."""
    path = mlruns / "mlflow.db"
    if not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True, timeout=30)) as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    except sqlite3.OperationalError as error:
        # A locked database is in use and not damaged.
        verdict = "ok" if "locked" in str(error) else str(error)
        tables = NEEDED
    except sqlite3.DatabaseError as error:
        verdict, tables = str(error), NEEDED
    if verdict == "ok" and tables.issuperset(NEEDED):
        return None
    reason = verdict if verdict != "ok" else "tables are missing"
    return (
        f"MLflow's database {mlruns.name}/mlflow.db is damaged ({' '.join(reason.split())[:80]}); the numbers lie in "
        f"{mlruns.name}/stages, and kdlab ui --rebuild makes the database anew from them"
    )


def address(mlruns: Path, uri: str | None) -> tuple[str, str]:
    """Return the tracking URI, and a name to remember it by that stays the same when the folder is moved."""
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or database(mlruns)
    return uri, LOCAL if uri == database(mlruns) else store_name(uri)


def move_artifacts(path: Path, old: str, new: str) -> None:
    """Change the absolute paths of artifacts in a database that was moved, so that it finds them again.

    Args:
        path: The database.
        old: The former root of the artifacts.
        new: The present root.
    """
    if not path.exists():
        return
    with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table, column in LOCATIONS:
            if table in tables:
                connection.execute(
                    # The names are this file's own constants, never data.
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608
                    (f"{new}/", len(old) + 2, len(old) + 1, f"{old}/"),
                )
