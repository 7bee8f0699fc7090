"""What is counted and measured, against numbers worked by hand."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kdlab.configuration.experiment import read
from kdlab.explainers.input_gradient import InputGradient
from kdlab.models.transformer import Transformer
from kdlab.stages import costs
from kdlab.stages.costs import PeakMemory, operations
from kdlab.stages.options import Options
from kdlab.stages.run import run
from tests.experiments import stage, written

PAGE = 4096


class Last(nn.Module):
    """A recurrent net and a head on its last step."""

    def __init__(self, recurrent: nn.RNNBase, classes: int) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.head = nn.Linear(recurrent.hidden_size * (2 if recurrent.bidirectional else 1), classes)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.recurrent(inputs)[0][:, -1])
        return logits


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2)
        self.head = nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(inputs).mean(dim=1))
        return logits


def attention(tokens: int, width: int) -> int:
    """Queries, keys and values; the output; scores and their use: 2 a b c for each product of (a, b) and (b, c)."""
    return 2 * tokens * width * 3 * width + 2 * tokens * width * width + 2 * 2 * tokens * tokens * width


def conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3),
    )  # fmt: skip


# name: (net, shape of one input, operations by hand)
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "MLP": (lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), (6,), 2 * 6 * 8 + 2 * 8 * 3),
    # Each value of a map is a sum over the kernel and the channels before it.
    "conv": (conv, (2, 8, 8), 2 * 64 * 4 * 9 * 2 + 2 * 16 * 5 * 9 * 4 + 2 * 5 * 3),
    "transformer encoder": (Encoder, (5, 8), 2 * (attention(5, 8) + 2 * 2 * 5 * 8 * 16) + 2 * 8 * 3),
    # Patches of 4 of one channel, 4 tokens of width 8, a hidden layer four times as wide.
    "kdlab's transformer": (
        lambda: Transformer((1, 16), 3, width=8, depth=1, heads=2),
        (1, 16),
        2 * 4 * 4 * 8 + attention(4, 8) + 2 * 2 * 4 * 8 * 32 + 2 * 8 * 3,
    ),
    # Four gates, each of the input (8) and the state (6), at 5 steps.
    "LSTM": (lambda: Last(nn.LSTM(8, 6, batch_first=True), 3), (5, 8), 5 * 4 * 2 * 6 * (8 + 6) + 2 * 6 * 3),
    # Two layers in both directions, the second of which reads both.
    "LSTM, two layers, both ways": (
        lambda: Last(nn.LSTM(8, 6, num_layers=2, bidirectional=True, batch_first=True), 3),
        (5, 8),
        2 * 5 * 4 * 2 * 6 * (8 + 6) + 2 * 5 * 4 * 2 * 6 * (12 + 6) + 2 * 12 * 3,
    ),
    "GRU": (lambda: Last(nn.GRU(8, 6, batch_first=True), 3), (5, 8), 5 * 3 * 2 * 6 * (8 + 6) + 2 * 6 * 3),
    "RNN": (lambda: Last(nn.RNN(8, 6, batch_first=True), 3), (5, 8), 5 * 2 * 6 * (8 + 6) + 2 * 6 * 3),
}


# torch says so when the nested form, which is for padded batches, is given up.
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("name", NETS)
def test_operations_by_hand(name: str) -> None:
    make, shape, wanted = NETS[name]
    model = make().eval()
    assert operations(model, torch.randn(1, *shape)) == wanted
    assert operations(model, torch.randn(3, *shape)) == pytest.approx(3 * wanted)
    assert costs.costs(model, torch.randn(4, *shape), None, None)["flops"] == wanted


def test_counting_leaves_torchs_settings_as_they_were() -> None:
    def settings() -> tuple[bool, bool, bool, bool]:
        sdp = torch.backends.cuda.flash_sdp_enabled()
        return (
            torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled, sdp
        )  # fmt: skip

    class Failing(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            raise ValueError("no")

    before = settings()
    operations(nn.Linear(2, 2), torch.ones(1, 2))
    assert settings() == before
    with pytest.raises(ValueError, match="no"):
        operations(Failing(), torch.ones(1, 2))
    assert settings() == before


needs_linux = pytest.mark.skipif(
    costs._resident("VmRSS") is None or not costs._forgot_peak(), reason="the system measures no peak of memory"
)


@needs_linux
def test_the_peak_is_of_the_work_inside_and_not_of_what_was_before() -> None:
    size = 64 * 2**20
    large = torch.ones(3 * size // 4)  # a peak that lies before
    del large
    with PeakMemory(torch.device("cpu")) as memory:
        held = torch.ones(size // 4)
        del held
    assert memory.bytes == pytest.approx(size, rel=0.1)
    with PeakMemory(torch.device("cpu")) as second:
        kept = torch.ones(size // 2)
    assert len(kept)
    assert second.bytes == pytest.approx(2 * size, rel=0.1)


@needs_linux
def test_a_larger_batch_takes_more_memory() -> None:
    wide = nn.Sequential(nn.Linear(4, 2**16), nn.ReLU(), nn.Linear(2**16, 2)).eval()
    # Tensors beyond 32 MiB are never taken from what was freed before: glibc maps each anew.
    few, many = (costs.costs(wide, torch.randn(rows, 4), None, None) for rows in (144, 576))
    # Both layers' outputs of 2^16 floats a sample.
    assert many["prediction_memory_bytes"] == pytest.approx(2 * 576 * 2**16 * 4, rel=0.3)
    assert many["prediction_memory_bytes"] > 3 * few["prediction_memory_bytes"]


def test_what_cannot_be_measured_is_left_out_and_never_0(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refuse)
    found = costs.costs(nn.Linear(2, 2), torch.ones(4, 2), None, None)
    assert "prediction_memory_bytes" not in found
    monkeypatch.undo()
    monkeypatch.setattr(costs, "_resident", lambda name: 100 * PAGE)
    with PeakMemory(torch.device("cpu")) as memory:
        pass
    assert memory.bytes is None


@needs_linux
def test_a_finished_stage_tells_what_its_training_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    # A net of 36 MiB: its weights are there when the training begins, their slopes and two averages are not, and what
    # is beyond 32 MiB is never taken from memory that was freed before.
    wide = {"class_path": "MLP", "init_args": {"inputs": 64, "classes": 3, "hidden": [140000]}}
    stages = {"teacher": {"module": stage("Supervised", wide)}}
    experiment = read(written(tmp_path, stages=stages, seeds=[0], trainer={"max_epochs": 1}, evaluate={}))
    outcome = run(experiment, Options(mlruns=tmp_path / "mlruns", accelerator="cpu"))
    (teacher,) = outcome.nodes
    assert teacher.folder.done is not None
    found = teacher.folder.test_result(teacher.evaluation)
    assert found is not None
    held = found.metrics["cost/training_memory_bytes"]
    assert held == teacher.folder.done.memory_bytes
    weights = found.metrics["cost/bytes"]
    assert weights < held < 30 * weights


def test_times_of_a_batch_are_a_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "_milliseconds", lambda *_: 80.0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    values = costs.costs(model, torch.zeros(8, 4), InputGradient(model), nn.Linear(4, 3))
    times = {name: value for name, value in values.items() if name.endswith("_ms")}
    assert times == {"latency_ms": 80.0, "latency_batch_ms": 10.0, "explanation_ms": 10.0, "explainer_ms": 10.0}
    assert (values["parameters"], values["bytes"], values["flops"]) == (15.0, 60.0, 24.0)
    assert values["explainer_parameters"] == 15.0
