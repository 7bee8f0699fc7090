import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from kdlab.errors import ConfigurationError
from kdlab.tracking.server import comparison_link, newest_link, ui
from kdlab.tracking.store import LOCAL
from tests.stage_folders import begin_stage, complete_stage, log_epoch, write
from tests.tracking.reading import files, history, sent, stage_runs, tracked


def test_the_link_sorts_by_accuracy_so_that_the_runs_lie_flat() -> None:
    link = comparison_link("http://127.0.0.1:5000/", "run1", ["1"])
    assert link.startswith("http://127.0.0.1:5000/#/experiments/1/runs?searchFilter=tags.executions")
    assert "orderByKey=metrics.%60test%2Faccuracy%60&orderByAsc=false&compareRunsMode=CHART" in link
    with pytest.raises(ValueError, match="no experiment"):
        comparison_link("http://127.0.0.1:5000", "run1", [])


def test_the_newest_trial_leads_to_all_trials_of_its_sweep(tmp_path: Path) -> None:
    folder = begin_stage(tmp_path)
    write(folder / "tracking.json", {LOCAL: {"experiment_id": "7", "run_id": "r"}})
    known = {"folders": [folder.name], "tags": {}, "metrics": {}}
    trial = known | {"tags": {"sweep": "study"}}
    write(tmp_path / "tracking" / "a.json", known | {"execution": "run", "started": 1})
    write(
        tmp_path / "tracking" / "b.json", trial | {"execution": "t0", "started": 2, "metrics": {"objective/size": 1.0}}
    )
    write(tmp_path / "tracking" / "c.json", trial | {"execution": "t1", "started": 3})
    link = unquote(str(newest_link(tmp_path, "http://here")))
    assert link.startswith("http://here/#/experiments/7/runs?searchFilter=tags.sweep = 'study' AND tags.kind = 'trial'")
    assert "orderByKey=metrics.`objective/size`" in link
    (tmp_path / "tracking" / "b.json").unlink()
    (tmp_path / "tracking" / "c.json").unlink()
    assert "tags.executions LIKE '%run%'" in unquote(str(newest_link(tmp_path, "http://here")))


def test_a_taken_port_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"another port, such as {port + 1}$"):
            ui(tmp_path, port)


@pytest.fixture(scope="module")
def served(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which ``ui`` shows it."""
    mlruns = tmp_path_factory.mktemp("served") / "mlruns"
    shutil.copytree(template, mlruns)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = f"from pathlib import Path; from kdlab.tracking.server import ui; ui(Path({str(mlruns)!r}), {port})"
    server = subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        assert f"http://127.0.0.1:{port}" in server.stdout.readline()
        yield mlruns, f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.communicate()


@pytest.mark.slow
# requests keeps its connections open for the next call: https://github.com/psf/requests/issues/3912
@pytest.mark.filterwarnings("ignore:.*unclosed <socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_points_sent_again_to_a_server_are_not_doubled(served: tuple[Path, str]) -> None:
    mlruns, uri = served
    folder = begin_stage(mlruns)
    tracker = tracked(mlruns, uri=uri)
    log_epoch(folder, 0)
    tracker.sync(folder)
    sent(tracker)
    memory = json.loads((folder / "tracking.json").read_text())
    memory[uri]["sent_bytes"] = 0
    (folder / "tracking.json").write_text(json.dumps(memory))
    complete_stage(folder, epochs=0)
    tracker.finish(folder)
    tracker.end()
    (run,) = stage_runs(mlruns)
    assert len(history(mlruns, run)) == 1
    assert run.info.status == "FINISHED"
    assert {file.path for file in files(mlruns, run, "weights")} == {"weights/model.safetensors"}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromedriver") is None, reason="needs the packages chromium and chromium-driver")
def test_the_link_opens_on_charts_of_all_runs_of_the_execution(served: tuple[Path, str]) -> None:
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService
    from selenium.webdriver.support.wait import WebDriverWait

    mlruns, uri = served
    tracker = tracked(mlruns, "seen", "browser")
    for seed in (0, 1):
        folder = begin_stage(mlruns, "pupil", seed, experiment="browser")
        complete_stage(folder)
        tracker.finish(folder)
    tracker.end()
    options = ChromeOptions()
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"):
        options.add_argument(argument)
    options.add_argument("--window-size=1400,3000")
    browser = Chrome(options=options, service=ChromeService(shutil.which("chromedriver")))
    try:
        link = tracker.link(uri)
        assert link is not None
        browser.get(link)
        wanted = ("pupil seed 0", "pupil seed 1", "2 matching runs", "val/accuracy", "test/accuracy", "cost/parameters")
        WebDriverWait(browser, 90).until(
            lambda page: all(text in page.find_element("tag name", "body").text for text in wanted)
        )
        assert "digits" not in browser.find_element("tag name", "body").text
    finally:
        browser.quit()
