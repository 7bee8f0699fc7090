"""Data modules of anybody's: kdlab's answer for themselves, of others only their loaders know anything."""

import lightning.pytorch as lightning
import pytest
import torch

from kdlab.data.adopted import Data, ForeignData, adopt_data, data_of
from kdlab.data.description import Description
from tests.data.foreign import Digested, Foreign
from tests.data.made_up import MadeUp


def test_kdlabs_own_answer_for_themselves() -> None:
    data = MadeUp(classes=3)
    adopted = adopt_data(data)
    assert adopted is data
    assert adopted.lightning is data
    assert adopted.samples == 160
    assert adopted.content_hash() == data.content_hash()


def test_lightning_gets_the_foreign_module_itself() -> None:
    module = Foreign()
    data = adopt_data(module)
    assert isinstance(data, ForeignData)
    assert data.lightning is module
    assert data.arranged(seed=5, transfer=False).lightning is module


def test_of_a_foreign_module_nothing_is_known_and_no_sample_has_a_number() -> None:
    module = Foreign()
    data = adopt_data(module)
    assert vars(data.description) == vars(Description())
    assert data.description.handed() == {}
    assert data.samples == 0
    assert list(data.every_batch()) == []
    assert module.asked == [], "a loader that is asked may draw"


@pytest.mark.parametrize(("module", "digest"), [(Foreign(), None), (Digested(), "all of it")])
def test_a_foreign_module_may_say_what_it_holds(module: Foreign, digest: str | None) -> None:
    assert adopt_data(module).content_hash() == digest


@pytest.mark.parametrize("labelled", [0, 5])
def test_a_foreign_module_cannot_be_cut(labelled: int) -> None:
    message = (
        f"{labelled} labels are asked for, but Foreign is no kdlab data module and cannot be cut; subclass "
        f"kdlab.data.base.DataModule, or drop labelled"
    )
    with pytest.raises(ValueError, match=f"^{message}$"):
        adopt_data(Foreign()).arranged(0, labelled)


@pytest.mark.parametrize(("split", "scale"), [("train", 1.0), ("val", -1.0), ("test", 100.0)])
@pytest.mark.parametrize(("count", "expected"), [(3, 3), (4, 4), (6, 6), (50, 10)])
def test_the_probe_of_foreign_data_is_what_the_splits_loader_gives_first(
    split: str, scale: float, count: int, expected: int
) -> None:
    module = Foreign()
    probe = adopt_data(module).probe(count, split)
    assert module.asked == [split]
    assert probe.keys() == {"inputs", "target"}
    assert probe["inputs"].flatten().tolist() == [scale * number for number in range(1, expected + 1)]
    assert probe["target"].tolist() == [number % 3 for number in range(expected)]


def test_a_trainer_with_loaders_alone_has_data_of_which_nothing_is_known() -> None:
    trainer = lightning.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    assert data_of(trainer).samples == 0
    assert vars(data_of(trainer).description) == vars(Description())


@pytest.mark.parametrize("module", [MadeUp(), Foreign()])
def test_the_data_of_a_trainer_are_its_data_module(module: lightning.LightningDataModule) -> None:
    trainer = lightning.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    trainer.datamodule = module  # type: ignore[attr-defined]  # as fit, validate and test set it
    assert data_of(trainer).lightning is module


@pytest.mark.parametrize("splits", [("train",), ("val", "test"), ("train", "val", "test")])
def test_every_batch_has_each_numbered_sample_of_the_splits_once_in_every_process(
    splits: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    data: Data = MadeUp((4,), 3, (40, 9, 9), batch_size=2)
    batches = list(data.every_batch(splits))
    assert [len(batch["index"]) for batch in batches][:1] == [16 if splits[0] == "train" else 9]
    kept = data.lightning
    assert isinstance(kept, MadeUp)
    for name in ("index", "inputs", "target", "view"):
        whole = torch.cat([kept.splits[split][name] for split in splits])
        assert torch.equal(torch.cat([batch[name] for batch in batches]), whole)
    monkeypatch.setattr("kdlab.data.loader.place", lambda: (1, 2))
    beside_another = list(data.every_batch(splits))
    pairs = zip(batches, beside_another, strict=True)
    assert all(torch.equal(alone["index"], shared["index"]) for alone, shared in pairs)


def test_who_writes_to_a_batch_writes_to_no_data() -> None:
    data = MadeUp((4,), 3, (6, 6, 6))
    before = data.content_hash()
    for batch in data.every_batch():
        batch["inputs"].zero_()
    assert data.content_hash() == before
