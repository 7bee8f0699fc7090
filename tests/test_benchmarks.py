import re
import sys
from collections.abc import Callable, Iterator

import pytest
import torch

from benchmarks import explanation_metrics, loss_memory, losses, shapley, trees


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


def test_no_pairwise_loss_holds_what_grows_with_batch_times_batch_times_width() -> None:
    rows = list(loss_memory.memory_rows([64]))
    for loss, _, _, bound, peak, _ in rows:
        assert float(peak) < 8 * float(bound) + 8, f"{loss} holds {peak} MiB"  # a chunk of RKDAngle is 4 MiB of cosines
    assert max(float(naive) for *_, naive in rows) > 100


def test_metrics_give_the_other_libraries_scores(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(explanation_metrics.main, "--rounds 1 --samples 8", capsys)
    assert "max-sensitivity" in text
    assert "deletion AUC, 32 steps" in text


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


def test_hard_trees_repeat_the_soft_tree(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(trees.main, "--seeds 1 --epochs 2", capsys)
    row = next(line for line in text.splitlines() if "own turns" in line)
    assert row.count("1.000 (1.000)") == 2
