"""What was deleted on MLflow's pages is shown with its size and freed; nothing else is touched."""

from pathlib import Path

import pytest

from kdlab.__main__ import main
from kdlab.errors import ConfigurationError
from kdlab.sweep.deleted_runs import deleted_runs, local_path, purge
from kdlab.tracking.store import Store, database


def run_with_weights(store: Store, experiment: str, name: str, size: int) -> str:
    run = store.client.create_run(store.experiment(experiment), run_name=name)
    store.client.log_text(run.info.run_id, "x" * size, "weights")
    return str(run.info.run_id)


@pytest.mark.slow
def test_deleted_runs_are_shown_and_freed_and_others_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mlruns = tmp_path / "100% mine"
    mlruns.mkdir()
    # Somebody's server is not kdlab's to clean: the database inside the folder is meant, whatever is set.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    store = Store(mlruns, database(mlruns))
    kept, gone = (run_with_weights(store, "first", name, 2000) for name in ("kept", "gone"))
    below = run_with_weights(store, "second", "below", 500)
    stage = mlruns / "stages" / "abc"
    stage.mkdir(parents=True)
    (stage / "model.safetensors").write_bytes(b"weights")
    assert deleted_runs(mlruns) == []
    store.client.delete_run(gone)
    store.client.delete_experiment(store.experiment("second"))  # with its runs

    assert main(["clean", "--mlruns", str(mlruns)]) == 0
    shown = capsys.readouterr().out
    assert "2 kB" in shown
    assert "deleted in MLflow: gone" in shown
    assert "500 B" in shown
    assert "deleted in MLflow: below" in shown
    assert "kept" not in shown

    assert main(["clean", "--free", "--mlruns", str(mlruns)]) == 0
    assert "freed 2 kB" in capsys.readouterr().out
    assert deleted_runs(mlruns) == []
    left = {path.parent.parent.name for path in (mlruns / "artifacts").rglob("weights")}
    assert left == {kept}
    assert not {gone, below} & left
    assert store.client.get_run(kept).info.run_name == "kept"
    assert (stage / "model.safetensors").exists()

    store.client.delete_run(kept)
    found = deleted_runs(mlruns)
    store.client.restore_run(kept)  # since it was shown
    with pytest.raises(ConfigurationError, match=r"MLflow did not delete its runs: .* is not in `deleted`"):
        purge(mlruns, found)
    assert store.client.get_run(kept).info.lifecycle_stage == "active"


def test_a_folder_without_a_database_has_none(tmp_path: Path) -> None:
    assert deleted_runs(tmp_path) == []
    assert not (tmp_path / "mlflow.db").exists()


def test_artifacts_lie_where_their_address_says() -> None:
    assert local_path("/data/100/artifacts") == Path("/data/100/artifacts")
    assert local_path("file:///data/100%25/artifacts") == Path("/data/100%/artifacts")
