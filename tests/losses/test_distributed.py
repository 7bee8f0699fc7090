"""Losses in two processes against one; run as a script, this file is one of the two."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from kdlab.losses.features.attention_transfer import AttentionTransfer
from kdlab.losses.features.fit_nets import FitNets
from kdlab.losses.features.nst import NST
from kdlab.losses.logits.decoupled_kd import DecoupledKD
from kdlab.losses.logits.dist import DIST
from kdlab.losses.logits.multi_level import BatchCorrelation, ClassCorrelation, MultiLevelLogits
from kdlab.losses.logits.soft_targets import SoftTargets
from kdlab.losses.relations.correlation_congruence import Bilinear, CorrelationCongruence
from kdlab.losses.relations.crd import CRD
from kdlab.losses.relations.pkt import PKT
from kdlab.losses.relations.rkd_angle import RKDAngle
from kdlab.losses.relations.rkd_distance import RKDDistance
from kdlab.losses.relations.similarity_preserving import SimilarityPreserving

BATCH = 8
LOSSES: dict[str, nn.Module] = {
    "soft targets": SoftTargets(),
    "decoupled": DecoupledKD(),
    "DIST": DIST(temperature=2.0),
    "class correlation": ClassCorrelation(),
    "batch correlation": BatchCorrelation(),
    "multi-level": MultiLevelLogits(),
    "attention transfer": AttentionTransfer(),
    "hint": FitNets(),
    "NST": NST(),
    "RKD distance": RKDDistance(),
    "RKD angle": RKDAngle(),
    "similarity preserving": SimilarityPreserving(),
    "PKT": PKT(),
    "correlation congruence": CorrelationCongruence(),
    "bilinear congruence": CorrelationCongruence(Bilinear()),
    "CRD": CRD(samples=20, negatives=6, width=4),
}
Results = dict[str, list[Tensor]]


def results(rows: slice, processes: int) -> Results:
    """The value, the student's gradients and, after two batches, the state, averaged over processes."""
    found: Results = {}
    for name, loss in LOSSES.items():
        torch.manual_seed(0)
        student = nn.Linear(10, 3 * 16, dtype=torch.float64)
        loss.train()
        batches = [[torch.randn(BATCH, width, dtype=torch.float64) for width in (10, 48)] for _ in range(2)]
        index = torch.randperm(20)[:BATCH]
        values = []
        for number, (inputs, teacher) in enumerate(batches):
            student.zero_grad()
            ours, theirs = student(inputs[rows]), teacher[rows]
            if isinstance(loss, CRD):
                if number == 0:
                    loss.prepare([ours], [theirs])
                value = loss([ours], [theirs], index[rows])
            elif isinstance(loss, DecoupledKD):
                value = loss(ours, theirs, index[rows])
            elif "logits" in type(loss).__module__:
                value = loss(ours, theirs)
            else:
                value = loss([ours.view(-1, 3, 4, 4)], [theirs.view(-1, 3, 4, 4)])
            value.backward()
            values.append(value.detach())
        gradients = [parameter.grad for parameter in student.parameters() if parameter.grad is not None]
        found[name] = [*values, *gradients, *(buffer.double() for buffer in loss.buffers())]
        if processes > 1:
            for tensor in found[name]:
                dist.all_reduce(tensor)
                tensor /= processes
    return found


def refusal(rank: int) -> str:
    rows = torch.randn(3 + rank, 4, requires_grad=True)
    with pytest.raises(ValueError, match="needs as many in each") as caught:
        RKDDistance()(rows, rows.detach())
    return str(caught.value)


def process(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    half = BATCH // 2
    found = results(slice(rank * half, (rank + 1) * half), processes=2)
    torch.save({"results": found, "refusal": refusal(rank)}, folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    children = [subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)]) for rank in range(2)]
    alone = results(slice(None), processes=1)
    assert [child.wait(timeout=120) for child in children] == [0, 0]
    for rank in range(2):
        together = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, expected in alone.items():
            for ours, theirs in zip(together["results"][name], expected, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12, msg=lambda m, name=name: f"{name}: {m}")
        assert "[3, 4] samples" in together["refusal"]


if __name__ == "__main__":
    process(int(sys.argv[1]), Path(sys.argv[2]))
