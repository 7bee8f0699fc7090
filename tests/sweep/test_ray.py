"""Workers on a Ray cluster: the real one, started by the test."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState

from kdlab.__main__ import main
from kdlab.errors import ConfigurationError
from kdlab.sweep.study_place import check_storage, place_of
from kdlab.workers.cluster_share import Share
from kdlab.workers.crew import REFUSED, Ending, Running
from kdlab.workers.ray_cluster import Cluster
from kdlab.workers.ray_joining import node_of
from tests.sweep.sweeps import sweep_file
from tests.sweep.test_workers import ROOT, check_whole, start, states, study_of, wait_for

# Ray on one machine: listens on it alone, sends nothing anywhere, asks for this token whatever the home folder has.
OWN = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "0123456789abcdef0123456789abcdef",
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster of one node, with two CPUs and a GPU that is only said to be there."""
    if importlib.util.find_spec("ray") is None:  # it is imported below, where it finds its settings
        pytest.skip("no Ray is installed: pip install 'kdlab[ray]'")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="kdlab-ray-")  # short: Ray's sockets lie in it
    options = ["--head", "--block", "--port", str(port), "--temp-dir", folder, "--include-dashboard", "false"]
    options += ["--num-cpus", "2", "--num-gpus", "1", "--object-store-memory", str(80 * 2**20)]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in OWN.items():
            patch.setenv(name, value)
        with (Path(folder) / "log").open("wb") as log:
            head = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", *options], stdout=log, stderr=subprocess.STDOUT
            )
        try:
            wait_for(lambda: answers(port) and head.poll() is None)
            yield f"127.0.0.1:{port}"
        finally:
            head.terminate()
            head.wait(60)
            shutil.rmtree(folder, ignore_errors=True)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def workers_on(path: Path) -> list[int]:
    """Processes that take trials of this sweep, whoever started them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has just ended
            continue
        if b"worker" in command and str(path).encode() in command:
            found.append(int(process.name))
    return found


def on(address: str, *further: str) -> list[str]:
    return ["--launcher", "ray", "--address", address, *further]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_workers_on_a_cluster_finish_a_study(tmp_path: Path, cluster: str) -> None:
    path = sweep_file(tmp_path)
    launcher = start(path, 5, "--workers", "2", *on(cluster))
    wait_for(lambda: len(workers_on(path)) == 2 or launcher.poll() is not None)
    assert launcher.wait(300) == 0, (tmp_path / "launcher.log").read_text()
    check_whole(path, 5)
    assert not workers_on(path)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_stopped_or_killed_no_worker_stays_and_the_next_start_goes_on(tmp_path: Path, cluster: str) -> None:
    path = sweep_file(tmp_path, fixed={"student.trainer.max_epochs": 80}, pruner=None)
    launcher = start(path, 3, "--workers", "2", *on(cluster))
    wait_for(lambda: any((tmp_path / "mlruns" / "stages").glob("*/resume.ckpt")))
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(90) == 130
    assert not workers_on(path)
    assert states(study_of(path))[TrialState.RUNNING] == 0

    launcher = start(path, 3, "--workers", "2", *on(cluster))
    wait_for(lambda: states(study_of(path))[TrialState.RUNNING] == 2)
    victim = workers_on(path)[0]
    os.kill(victim, signal.SIGKILL)
    # On a busy machine the other worker may have ended the sweep before the new one has loaded torch.
    wait_for(lambda: victim not in workers_on(path) and (len(workers_on(path)) == 2 or launcher.poll() is not None))
    assert "another takes its place" in (tmp_path / "launcher.log").read_text()
    launcher.kill()
    launcher.wait()
    wait_for(lambda: not workers_on(path), 60)

    assert start(path, 3, "--workers", "2", *on(cluster)).wait(300) == 0
    check_whole(path, 3)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_workers_share_a_gpu_and_are_refused_or_taken_back(tmp_path: Path, cluster: str) -> None:
    import ray

    ray.init(cluster, log_to_driver=False, logging_level="ERROR")
    try:
        half, log = Cluster(Share(2, 1, 0.5), [], {"KDLAB_STORAGE": "x"}), tmp_path / "log"
        log.touch()
        show = "import os; print([os.environ[name] for name in ('CUDA_VISIBLE_DEVICES', 'KDLAB_STORAGE')])"
        shown = ["timeit", "-n", "1", "-r", "1", "-s", show]
        workers = [half.start(index, shown, log) for index in range(2)]
        assert [ended(worker).code for worker in workers] == [0, 0]
        assert log.read_text().count("['0', 'x']") == 2

        alone = Cluster(Share(1, 1, 0.0), [], {"KDLAB_STORAGE": "x"})
        assert ended(alone.start(0, shown, log)).code == 0
        assert "['', 'x']" in log.read_text()

        ending = ended(replace(half, needed=[tmp_path / "experiment.yaml"]).start(0, shown, log))
        assert ending.code == REFUSED
        assert f"does not see {tmp_path / 'experiment.yaml'}; all nodes must share" in ending.last_words

        waiting = Cluster(Share(1, 99, 0.0), [], {}).start(0, shown, log)
        assert waiting.poll() is None
        waiting.terminate()
        assert ended(waiting).code == -signal.SIGKILL
    finally:
        ray.shutdown()


def ended(worker: Running) -> Ending:
    deadline = time.monotonic() + 120
    while (ending := worker.poll()) is None:
        assert time.monotonic() < deadline, "it never ended"
        time.sleep(0.1)
    return ending


def test_sqlite_is_refused_where_there_are_several_machines(tmp_path: Path) -> None:
    def node(address: str, host: str) -> dict[str, object]:
        return {"NodeManagerAddress": address, "NodeManagerHostname": host, "Resources": {"CPU": 4.0, "memory": 1.0}}

    here, own = node("10.0.0.1", socket.gethostname()), place_of("name", None, tmp_path)
    shared = place_of("name", "postgresql://user@host/database", tmp_path)
    check_storage(own, [node_of(here)])
    for nodes in ([here, node("10.0.0.2", "other")], [here, node("10.0.0.2", socket.gethostname())]):
        check_storage(shared, [node_of(told) for told in nodes])
        with pytest.raises(ConfigurationError, match="SQLite holds on one machine alone, and the Ray cluster has 2"):
            check_storage(own, [node_of(told) for told in nodes])
    with pytest.raises(ConfigurationError, match="has 1 node; give all of them --storage postgresql://"):
        check_storage(own, [node_of(node("10.0.0.2", "other"))])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gpus-per-trial", "0.5"], "--gpus-per-trial 0.5: this is said to a cluster; add --launcher ray"),
        (["--address", "auto"], "--address auto: this is said to a cluster; add --launcher ray"),
        (["--launcher", "ray", "--per-gpu", "4"], "--per-gpu 4: Ray is told --gpus-per-trial 0.25"),
        (["--launcher", "ray", "--address", "127.0.0.1:1"], "--address 127.0.0.1:1: nobody answers there"),
    ],
)
def test_wrong_options_are_one_line_before_any_trial(
    tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sweep_file(tmp_path)
    assert main(["sweep", str(path), "--mlruns", str(tmp_path / "mlruns"), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "mlruns" / "optuna.db").exists()


def test_a_part_of_a_gpu_is_above_zero_and_at_most_one(capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("0", "2", "nan", "half"):
        with pytest.raises(SystemExit):
            main(["sweep", "some.yaml", "--launcher", "ray", "--gpus-per-trial", part])
        assert "a trial trains on one GPU or a part of it, such as 0.25" in capsys.readouterr().err


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path) -> None:
    path = sweep_file(tmp_path)
    code = "import sys; sys.modules['ray'] = None; from kdlab.__main__ import main; sys.exit(main())"
    run = subprocess.run(
        [sys.executable, "-c", code, "sweep", str(path), "--mlruns", str(tmp_path / "mlruns"), "--launcher", "ray"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 2
    assert run.stderr == "kdlab: error: --launcher ray needs a package: pip install 'kdlab[ray]'\n"
