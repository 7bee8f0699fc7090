import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from optuna.trial import create_trial

from benchmarks import explanation_metrics, loss_memory, losses, one_call, shapley, sweeps, trees
from kdlab.records.stage_folder import StageFolder
from kdlab.sweep.study import STAGES
from tests.experiments import written
from tests.stage_folders import done
from tests.sweep.sweeps import sweep_file


@pytest.fixture(autouse=True)
def same_number_of_threads_afterwards() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def printed(main: Callable[[], None], arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["benchmark", *arguments.split(), "--threads", "1"])
        patch.setenv("COLUMNS", "160")
        main()
    return capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_loss_takes_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(losses.main, "--rounds 1 --steps 1", capsys)
    for name in [*losses.arms(), "soft targets by hand"]:
        assert name in text


@pytest.mark.slow
def test_no_pairwise_loss_holds_what_grows_with_batch_times_batch_times_width() -> None:
    rows = list(loss_memory.memory_rows([64]))
    for loss, _, _, bound, peak, _ in rows:
        # A chunk of RKDAngle is 8 MiB of cosines in float64.
        assert float(peak) < 8 * float(bound) + 16, f"{loss} holds {peak} MiB"
    assert max(float(naive) for *_, naive in rows) > 100


def test_metrics_give_the_other_libraries_scores(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(explanation_metrics.main, "--rounds 1 --samples 8", capsys)
    assert "max-sensitivity" in text
    assert "deletion AUC, 32 steps" in text


@pytest.mark.slow
def test_amortised_values_are_compared_with_sampled_ones(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(shapley.main, "--only table --rounds 1 --steps 3 --samples 4 --timed 1 --truth 128", capsys)
    assert "captum KernelShap-512" in text


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("game", ["table", "images"])
def test_amortised_values_are_nearer_to_the_truth_than_sampled_ones(
    game: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(shapley.main, f"--only {game} --rounds 1 --samples 8 --timed 1", capsys)
    error = {name: float(value) for name, value in re.findall(r"(amortised|captum KernelShap-\d+) +│ ([\d.]+)", text)}
    assert error["amortised"] < error[f"captum KernelShap-{512 if game == 'table' else 128}"]


def test_both_in_one_call_are_timed_beside_the_prediction(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(one_call.main, "--rounds 1", capsys)
    rows = re.findall(r"│ (\d+) +│ ([\d.]+) +│ ([\d.]+) +│", text)
    assert [row[0] for row in rows] == 2 * ["1", "64", "256"]
    assert all(float(both) > float(prediction) for _, prediction, both in rows if float(prediction) > 1)


def test_explanations_are_judged_only_where_a_stage_is_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FileNotFoundError, match="no finished joint stage"):
        printed(one_call.main, f"--judge {tmp_path}", capsys)


def test_hard_trees_repeat_the_soft_tree(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(trees.main, "--seeds 1 --epochs 2", capsys)
    row = next(line for line in text.splitlines() if "own turns" in line)
    assert row.count("1.000 (1.000)") == 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_trial_is_timed_beyond_the_training_of_its_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sweep_file(tmp_path)
    text = printed(sweeps.main, f"overhead --file {path} --trials 3", capsys)
    whole, beyond = (float(found) for found in re.findall(r"([\d.]+)\s+\[", text))
    assert 0 < beyond < whole
    assert not (tmp_path / "made_up.best.yaml").exists(), "a measurement writes beside the sweep that it measures"


def test_a_stage_that_an_earlier_trial_trained_is_no_training_of_this_one(tmp_path: Path) -> None:
    for stage, seconds in (("old", 5.0), ("new", 2.0)):
        folder = tmp_path / "stages" / stage
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"weights")
        StageFolder(folder).finish(done(seconds=seconds))
    first, second = (create_trial(value=0.0, user_attrs={STAGES: stages}) for stages in (["old"], ["old", "new"]))
    assert sweeps.trained(second, tmp_path, before=[first]) == 2.0
    assert sweeps.trained(second, tmp_path, before=[]) == 7.0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_configurations_are_compared_seed_by_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path)
    text = printed(sweeps.main, f"gain {path} {path} --seeds 5,6 --mlruns {tmp_path / 'mlruns'}", capsys)
    assert "0.0000 ± 0.0000 (2 seeds), no spread" in text
