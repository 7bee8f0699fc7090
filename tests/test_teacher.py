"""The teacher and its soft labels: cached equals live, and nothing damaged or foreign is ever used."""

from pathlib import Path

import pytest
import torch

from kdlab.models.conv_net import ConvNet
from kdlab.records.soft_labels import Cache, SoftLabels, gather
from kdlab.teacher import Ensemble, Teacher
from tests.data.made_up import MadeUp

OWNER = {"teacher": "a", "data": "b"}


def cached(tmp_path: Path) -> tuple[Teacher, MadeUp]:
    data = MadeUp(classes=3, batch_size=16)
    data.setup()
    teacher = Teacher(ConvNet(classes=3, width=4))
    with torch.no_grad():
        pairs = ((b["index"], teacher(b["inputs"])) for b in data.every_batch())
        teacher.soft_labels = SoftLabels.write(tmp_path / "soft.npy", pairs, data.samples, OWNER)
    return teacher, data


def whole(path: Path, table: torch.Tensor, cache: Cache = Cache(), views: int = 1) -> SoftLabels:
    return SoftLabels.write(path, [(torch.arange(len(table)), table)], len(table), OWNER, cache, views)


def test_cached_logits_equal_live_ones(tmp_path: Path) -> None:
    teacher, data = cached(tmp_path)
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for batch in loader:
            torch.testing.assert_close(teacher.logits(batch), teacher(batch["inputs"]), rtol=1e-5, atol=1e-6)


def test_a_batch_without_a_view_is_answered_live(tmp_path: Path) -> None:
    teacher, data = cached(tmp_path)
    batch = next(iter(data.train_dataloader()))
    shifted = {"inputs": batch["inputs"] + 1, "index": batch["index"]}
    torch.testing.assert_close(teacher.logits(shifted), teacher(batch["inputs"] + 1))


def test_a_cache_is_found_again(tmp_path: Path) -> None:
    cached(tmp_path)
    assert SoftLabels.load(tmp_path / "soft.npy", OWNER) is not None


@pytest.mark.parametrize("owner", [{"teacher": "x", "data": "b"}, {"teacher": "a", "data": "x"}])
def test_a_cache_of_another_teacher_or_data_is_not_used(tmp_path: Path, owner: dict[str, str]) -> None:
    cached(tmp_path)
    assert SoftLabels.load(tmp_path / "soft.npy", owner) is None


def test_a_damaged_cache_is_not_used(tmp_path: Path) -> None:
    cached(tmp_path)
    content = bytearray((tmp_path / "soft.npy").read_bytes())
    content[-1] ^= 1
    (tmp_path / "soft.npy").write_bytes(content)
    assert SoftLabels.load(tmp_path / "soft.npy", OWNER) is None
    (tmp_path / "soft.npy").write_bytes(content[:50])
    assert SoftLabels.load(tmp_path / "soft.npy", OWNER) is None
    (tmp_path / "soft.json").write_text("{")
    assert SoftLabels.load(tmp_path / "soft.npy", OWNER) is None


def test_soft_labels_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not finite"):
        whole(tmp_path / "soft.npy", torch.tensor([[float("nan"), 0.0]]))


def test_a_sample_that_is_missing_is_noticed() -> None:
    with pytest.raises(ValueError, match="1 of 3 are not"):
        gather([(torch.tensor([0, 2]), torch.zeros(2, 2))], 3)


@pytest.mark.parametrize(
    ("batches", "wrong"),
    [([[0, 1, 1, 2]], 1), ([[0, 1, 2], [1]], 1), ([[0, 1], [0, 1]], 3), ([[0, 1, 1]], 2), ([[0, 0, 0]], 3)],
)
def test_a_sample_that_is_there_twice_is_noticed(tmp_path: Path, batches: list[list[int]], wrong: int) -> None:
    pairs = [(torch.tensor(index), torch.zeros(len(index), 2)) for index in batches]
    with pytest.raises(ValueError, match=f"{wrong} of 3 are not"):
        gather(pairs, 3)
    with pytest.raises(ValueError, match=f"{wrong} of 3 are not"):
        SoftLabels.write(tmp_path / "soft.npy", pairs, 3, OWNER)
    assert not list(tmp_path.iterdir())


def test_views_have_rows_of_their_own(tmp_path: Path) -> None:
    table = torch.arange(12.0).reshape(6, 2)  # three samples, two views each
    labels = whole(tmp_path / "soft.npy", table, views=2)
    assert torch.equal(labels.rows(torch.tensor([2, 0]), torch.tensor([1, 0])), table[[5, 0]])


def test_several_teachers_are_the_mean_of_their_logits() -> None:
    one, two = Teacher(ConvNet(classes=3, width=4)), Teacher(ConvNet(classes=3, width=4))
    inputs = torch.randn(2, 1, 8, 8)
    both = Ensemble([one, two])
    torch.testing.assert_close(both(inputs), (one(inputs) + two(inputs)) / 2)
    torch.testing.assert_close(both.logits({"inputs": inputs}), both(inputs))


def test_a_teacher_takes_no_gradient_and_stays_in_eval_mode() -> None:
    network = ConvNet(classes=3, width=4)
    teacher = Teacher(network)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    before = teacher.state_hash()
    network.train()
    assert teacher.state_hash() != before
