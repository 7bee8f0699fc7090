"""Soft labels on disk: as exact as they say, complete or absent, and never whole in memory."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor

from kdlab.models.conv_net import ConvNet
from kdlab.modules.distilled import Distilled
from kdlab.records import files, soft_labels
from kdlab.records.soft_labels import Cache, SoftLabels
from kdlab.teacher import Ensemble, Teacher
from tests.data.made_up import MadeUp
from tests.modules.fitting import fit, student

OWNER = {"teacher": "a", "data": "b"}
HALF = 2**-11


def written(path: Path, logits: Tensor, cache: Cache = Cache(), at_once: int = 7) -> SoftLabels:
    """Write in batches and in another order than the table's."""
    order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(1))
    return SoftLabels.write(path, ((rows, logits[rows]) for rows in order.split(at_once)), len(logits), OWNER, cache)


def all_of(labels: SoftLabels, rows: int) -> Tensor:
    return labels.rows(torch.arange(rows), torch.zeros(rows, dtype=torch.long))


@pytest.fixture(params=["held", "mapped"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether a table is small enough to be held in memory."""
    name: str = request.param
    if name == "mapped":
        monkeypatch.setattr(soft_labels, "HELD_BYTES", 0)
    return name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_whole_logits_come_back_bit_for_bit(tmp_path: Path, place: str, dtype: torch.dtype) -> None:
    logits = torch.randn(50, 6, dtype=dtype) * 10
    for labels in (written(tmp_path / "a.npy", logits), SoftLabels.load(tmp_path / "a.npy", OWNER)):
        assert labels is not None
        assert labels.exact
        assert torch.equal(all_of(labels, 50), logits)


def test_half_precision_is_within_its_tolerance(tmp_path: Path, place: str) -> None:
    logits = torch.randn(50, 6) * 30
    labels = written(tmp_path / "a.npy", logits, Cache(dtype="float16"))
    found = all_of(labels, 50)
    assert not labels.exact
    assert found.dtype == torch.float32
    assert bool(((found - logits).abs() <= HALF * logits.abs() + 1e-7).all())
    assert not torch.equal(found, logits)


@pytest.mark.parametrize("dtype", [None, "float16"])
@pytest.mark.parametrize("top_k", [1, 3, 19])
def test_the_largest_logits_and_the_mass_of_the_rest_are_the_teachers(
    tmp_path: Path, place: str, top_k: int, dtype: str | None
) -> None:
    logits = torch.randn(50, 20) * 4
    found = all_of(written(tmp_path / "a.npy", logits, Cache(top_k, dtype)), 50)
    off = HALF if dtype else 1e-6
    kept = logits.topk(top_k, dim=1).indices
    assert bool(((found - logits).gather(1, kept).abs() <= off * logits.gather(1, kept).abs() + 1e-6).all())
    ours, theirs = found.softmax(1), logits.softmax(1)
    # A logit that is off by d changes a probability by at most d of itself, and all logits are below 20.
    torch.testing.assert_close(ours.gather(1, kept), theirs.gather(1, kept), rtol=40 * off, atol=1e-6)
    rest = (ours.scatter(1, kept, 0.0).sum(1), theirs.scatter(1, kept, 0.0).sum(1))
    torch.testing.assert_close(rest[0], rest[1], rtol=40 * off, atol=1e-6)
    hot = ((found / 4).softmax(1).scatter(1, kept, 0.0).sum(1), (logits / 4).softmax(1).scatter(1, kept, 0.0).sum(1))
    assert bool((hot[0] >= hot[1] * (1 - 40 * off)).all())


def test_as_many_as_there_are_classes_are_all(tmp_path: Path, place: str) -> None:
    logits = torch.randn(9, 4)
    assert torch.equal(all_of(written(tmp_path / "a.npy", logits, Cache(top_k=4)), 9), logits)


@pytest.mark.parametrize(("top_k", "dtype"), [(0, None), (-1, None), (None, "int8"), (None, "bfloat16")])
def test_impossible_caches_are_refused(top_k: int | None, dtype: str | None) -> None:
    with pytest.raises(ValueError, match="must be"):
        Cache(top_k, dtype)


def test_what_half_precision_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not finite as torch.float16 .*keep them in float32"):
        written(tmp_path / "a.npy", torch.full((2, 3), 1e5), Cache(dtype="float16"))
    assert not list(tmp_path.iterdir())


def test_another_kind_of_cache_is_not_used(tmp_path: Path) -> None:
    written(tmp_path / "a.npy", torch.randn(9, 4), Cache(top_k=2))
    assert SoftLabels.load(tmp_path / "a.npy", OWNER) is None
    assert SoftLabels.load(tmp_path / "a.npy", OWNER, Cache(top_k=3)) is None
    assert SoftLabels.load(tmp_path / "a.npy", OWNER, Cache(top_k=2)) is not None


def test_labels_can_be_copied_and_sent_to_another_process(tmp_path: Path, place: str) -> None:
    labels = written(tmp_path / "a.npy", torch.randn(9, 4))
    for other in (copy.deepcopy(labels), pickle.loads(pickle.dumps(labels))):
        assert torch.equal(all_of(other, 9), all_of(labels, 9))


def test_labels_stay_when_their_file_is_replaced(tmp_path: Path, place: str) -> None:
    logits = torch.randn(9, 4)
    labels = written(tmp_path / "a.npy", logits)
    written(tmp_path / "a.npy", logits + 1)
    assert torch.equal(all_of(labels, 9), logits)


def test_a_sample_out_of_the_table_is_an_error(tmp_path: Path, place: str) -> None:
    labels = written(tmp_path / "a.npy", torch.randn(9, 4))
    for index in (9, -1):
        with pytest.raises(IndexError):
            labels.rows(torch.tensor([index]), torch.tensor([0]))


class Killed(BaseException):
    """Nothing that anybody catches."""


@contextmanager
def dying_at(operation: int) -> Iterator[list[str]]:
    """Die before the file operation of this number, 0 the first; gives the names of those that were done."""
    done: list[str] = []

    def counted(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*arguments: Any, **named: Any) -> Any:
            if len(done) == operation:
                raise Killed
            done.append(name)
            return work(*arguments, **named)

        return instead

    with pytest.MonkeyPatch.context() as patched:
        for owner, name in (
            (Path, "replace"),
            (Path, "write_text"),
            (files, "to_disk"),
            (numpy.lib.format, "open_memmap"),
            (soft_labels, "_digest"),
        ):
            patched.setattr(owner, name, counted(name, getattr(owner, name)))
        with suppress(Killed):
            yield done


@pytest.mark.parametrize("before", [False, True])
def test_a_kill_at_every_file_operation_leaves_them_complete_or_absent(tmp_path: Path, before: bool) -> None:
    old, new = torch.randn(9, 4), torch.randn(9, 4)
    with dying_at(-1) as operations:
        written(tmp_path / "whole.npy", new)
    assert operations.count("replace") == 2
    found = []
    for operation in range(len(operations)):
        path = tmp_path / str(operation) / "a.npy"
        if before:
            SoftLabels.write(path, [(torch.arange(9), old)], 9, {"teacher": "old"})
        with dying_at(operation) as done:
            written(path, new)
        assert len(done) == operation
        for owner, logits in ((OWNER, new), ({"teacher": "old"}, old)):
            labels = SoftLabels.load(path, owner)
            found.append(labels is not None)
            assert labels is None or torch.equal(all_of(labels, 9), logits)
        assert torch.equal(all_of(written(path, new), 9), new)
    assert any(found)


def made_up_teacher(tmp_path: Path, cache: Cache) -> Teacher:
    data = MadeUp(classes=3, batch_size=16)
    data.setup()
    teacher = Teacher(ConvNet(classes=3, width=4))
    with torch.no_grad():
        pairs = [(batch["index"], teacher(batch["inputs"])) for batch in data.every_batch()]
    teacher.soft_labels = SoftLabels.write(tmp_path / "soft.npy", pairs, data.samples, OWNER, cache)
    return teacher


def test_metrics_are_about_the_teacher_itself_and_not_what_the_cache_keeps(tmp_path: Path) -> None:
    teacher = made_up_teacher(tmp_path, Cache(top_k=1))
    data = MadeUp(classes=3, batch_size=16).arranged(0)
    batch = next(iter(data.train_dataloader()))
    live = teacher(batch["inputs"])
    assert not torch.allclose(teacher.logits(batch), live, atol=1e-4)
    torch.testing.assert_close(teacher.exact_logits(batch), live)
    torch.testing.assert_close(Ensemble([teacher, teacher]).exact_logits(batch), live)
    module = Distilled(student(), teacher)
    torch.testing.assert_close(module.train().signals(batch)["teacher_logits"], teacher.logits(batch))
    torch.testing.assert_close(module.eval().signals(batch)["teacher_logits"], live)


def test_a_student_learns_from_half_precision_what_it_learns_live(tmp_path: Path) -> None:
    found = []
    for cached in (True, False):
        torch.manual_seed(0)
        teacher = made_up_teacher(tmp_path, Cache(dtype="float16"))
        teacher.soft_labels = teacher.soft_labels if cached else None
        found.append(float(fit(Distilled(student(), teacher)).callback_metrics["train/soft"]))
    assert found[0] == pytest.approx(found[1], rel=1e-2)


#: Writes and reads a table in a process of its own and prints by how many MiB its memory grew at most.
MEASURED = """
import sys
from pathlib import Path
import torch
from kdlab.records.soft_labels import Cache, SoftLabels

rows, classes, top_k, path = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
cache = Cache(top_k, "float16") if top_k else Cache()
generator = torch.Generator().manual_seed(0)

def batches(count):
    for start in range(0, count, 1000):
        some = min(1000, count - start)
        yield torch.arange(start, start + some), torch.randn(some, classes, generator=generator)

def peak():  # not ru_maxrss: a process inherits that of the one that started it
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024

warm = SoftLabels.write(path.with_name("warm.npy"), batches(2000), 2000, {}, cache)
warm.rows(torch.arange(5), torch.zeros(5).long())
before = peak()
SoftLabels.write(path, batches(rows), rows, {}, cache)
labels = SoftLabels.load(path, {}, cache)
for _ in range(200):
    found = labels.rows(torch.randint(rows, (256,), generator=generator), torch.zeros(256).long())
    assert found.shape == (256, classes)
print(before, peak())
"""


def growth(tmp_path: Path, rows: int, classes: int, top_k: int) -> tuple[float, float]:
    command = [sys.executable, "-c", MEASURED, str(rows), str(classes), str(top_k), str(tmp_path / "a.npy")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(said[0]), float(said[1])


reads_peaks = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system measures no peak of memory")


@reads_peaks
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_whole_table_of_191_mib_is_written_and_read_in_less_than_64(tmp_path: Path) -> None:
    before, peak = growth(tmp_path, 50_000, 1000, 0)
    assert (tmp_path / "a.npy").stat().st_size > 190 * 2**20
    assert peak - before < 64


@reads_peaks
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_million_samples_of_a_thousand_classes_take_less_than_a_gib(tmp_path: Path) -> None:
    _, peak = growth(tmp_path, 1_000_000, 1000, 8)
    assert (tmp_path / "a.npy").stat().st_size < 64 * 2**20
    assert peak < 1024
