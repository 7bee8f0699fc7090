"""All that a database of MLflow's has of kdlab's runs, by what the runs are of: two of them can be compared."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

#: Hold ids of runs or of this installation, which are others in another database.
OF_IDS = ("mlflow.parentRunId", "mlflow.note.content", "mlflow.user")


def content(path: Path, times: bool = True) -> dict[str, dict[str, Any]]:
    """Runs with all their points, one by one, also equal ones; their parameters, tags, status, times and files."""
    with closing(sqlite3.connect(path)) as connection:
        runs = connection.execute(
            "SELECT run_uuid, status, start_time, end_time, artifact_uri, name FROM runs"
        ).fetchall()
        names = dict(connection.execute("SELECT run_uuid, value FROM tags WHERE key = 'kdlab.folder'").fetchall())
        assert len(set(names.values())) == len(runs), "two runs of one thing"
        found = {}
        for identity, status, start, end, artifacts, name in runs:
            points = connection.execute(
                "SELECT key, step, value, timestamp FROM metrics WHERE run_uuid = ? ORDER BY 1, 2, 3, 4", (identity,)
            ).fetchall()
            tags = dict(connection.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (identity,)).fetchall())
            parent = names.get(tags.get("mlflow.parentRunId", ""))
            files = [file for file in Path(artifacts).rglob("*") if file.is_file()]
            found[names[identity]] = {
                "name": name,
                "status": status,
                "times": (start, end) if times else None,
                "points": points if times else [point[:3] for point in points],
                "parameters": dict(
                    connection.execute("SELECT key, value FROM params WHERE run_uuid = ?", (identity,)).fetchall()
                ),
                "tags": {key: value for key, value in tags.items() if key not in OF_IDS},
                "parent": parent,
                "files": {str(file.relative_to(artifacts)): file.read_bytes() for file in files},
            }
    return found
