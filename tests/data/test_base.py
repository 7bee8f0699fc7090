import copy

import pytest
import torch
from torch import Tensor

from kdlab.data.augment import ShiftFlip
from kdlab.data.base import DataModule
from kdlab.data.breast_cancer import BreastCancer
from kdlab.data.digits import Digits
from tests.data.made_up import MadeUp


class Given(DataModule):
    """Yields what the test hands in."""

    def __init__(self, inputs: Tensor, target: Tensor, names: list[str] | None = None) -> None:
        super().__init__(batch_size=2)
        self.given = {"inputs": inputs, "target": target}
        self.feature_names = names

    def load(self) -> dict[str, dict[str, Tensor]]:
        return {split: dict(self.given) for split in ("train", "val", "test")}


def test_digits_are_stratified_and_standardised() -> None:
    data = Digits()
    data.setup()
    sizes = {split: len(tensors["target"]) for split, tensors in data.splits.items()}
    assert sizes == {"train": 1078, "val": 360, "test": 359}
    assert data.shape == (1, 8, 8)
    inputs = data.splits["train"]["inputs"]
    torch.testing.assert_close(inputs.mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(inputs.std(correction=0), torch.tensor(1.0), atol=1e-5, rtol=0)
    assert torch.equal(data.baseline, torch.zeros(1, 8, 8))
    for tensors in data.splits.values():
        counts = tensors["target"].bincount()
        assert int(counts.max() - counts.min()) <= 6  # the classes themselves have 174 .. 183 samples


def test_breast_cancer_uses_the_training_statistics_only() -> None:
    data = BreastCancer()
    data.setup()
    torch.testing.assert_close(data.splits["train"]["inputs"].mean(0), torch.zeros(30), atol=1e-5, rtol=0)
    assert data.splits["test"]["inputs"].mean(0).abs().max() > 0.05
    assert data.class_names == ["malignant", "benign"]


def test_another_split_seed_is_another_split() -> None:
    assert Digits(split_seed=1).content_hash() != Digits(split_seed=0).content_hash()


def test_setup_loads_once() -> None:
    data = MadeUp()
    data.setup("fit")
    before = data.splits["train"]["inputs"]
    data.setup("test")
    assert data.splits["train"]["inputs"] is before


def test_an_arranged_copy_shares_the_tensors_and_leaves_the_original_alone() -> None:
    data = MadeUp()
    data.setup()
    arranged = data.arranged(seed=3, labelled=20)
    assert arranged.splits["train"]["inputs"] is data.splits["train"]["inputs"]
    assert (data.splits["train"]["target"] >= 0).all()
    assert data.arranged(seed=0).splits["train"]["target"] is data.splits["train"]["target"]


def test_labelled_subsets_are_stratified_nested_and_redrawn_by_seed() -> None:
    data = Digits()
    few = data.arranged(seed=1, labelled=50).splits["train"]["target"]
    many = data.arranged(seed=1, labelled=100).splits["train"]["target"]
    other = data.arranged(seed=2, labelled=50).splits["train"]["target"]
    assert few[few >= 0].bincount().tolist() == [5] * 10
    assert (many[few >= 0] >= 0).all()
    assert not torch.equal(few, other)


def test_a_rare_class_keeps_a_label() -> None:
    target = torch.tensor([0] * 200 + [1, 1, 1])
    data = Given(torch.randn(203, 2), target)
    kept = data.arranged(seed=0, labelled=4).splits["train"]["target"]
    assert sorted(kept[kept >= 0].tolist())[-1] == 1


def test_arms_of_one_seed_see_the_same_samples_in_the_same_order() -> None:
    data = Digits()
    plain, labelled = (data.arranged(seed=7, labelled=count).train_dataloader() for count in (None, 100))
    for one, other in zip(plain, labelled, strict=True):
        assert torch.equal(one["index"], other["index"])


def test_no_labels_at_all_are_allowed_with_a_transfer_set_only() -> None:
    data = MadeUp()
    assert (data.arranged(seed=0, labelled=0).splits["train"]["target"] == -1).all()
    with pytest.raises(ValueError, match="no labelled training sample"):
        data.arranged(seed=0, labelled=0, transfer=False)


def test_of_partly_labelled_data_only_labels_that_exist_are_kept() -> None:
    target = torch.tensor([0, 1, -1, -1] * 10)
    data = Given(torch.arange(40.0)[:, None], target)
    for seed in range(3):
        kept = data.arranged(seed=seed, labelled=8).splits["train"]["target"]
        assert kept[kept >= 0].bincount().tolist() == [4, 4]
        assert torch.equal(kept[kept >= 0], target[kept >= 0])
    with pytest.raises(ValueError, match="the 20 labelled training samples, got 21"):
        data.arranged(seed=0, labelled=21)


@pytest.mark.parametrize("labelled", [-1, 81])
def test_refuses_more_labels_than_there_are(labelled: int) -> None:
    with pytest.raises(ValueError, match=f"between 0 and the 80 labelled training samples, got {labelled}"):
        MadeUp().arranged(seed=0, labelled=labelled)


def test_augmented_batches_have_no_view_and_change_by_epoch() -> None:
    loader = MadeUp(augment=ShiftFlip(2)).arranged(seed=0).train_dataloader()
    first = {int(i): x for batch in loader for i, x in zip(batch["index"], batch["inputs"], strict=True)}
    loader.set_epoch(1)
    second = {int(i): x for batch in loader for i, x in zip(batch["index"], batch["inputs"], strict=True)}
    assert "view" not in next(iter(loader))
    assert sum(not torch.equal(first[i], second[i]) for i in first.keys() & second.keys()) > 40
    assert "view" in next(iter(MadeUp(augment=ShiftFlip(2)).val_dataloader()))


def test_the_probe_is_stratified_and_no_larger_than_validation() -> None:
    # Class by class and of unequal sizes, so that neither the first rows nor any others would do.
    data = Given(torch.randn(100, 2), torch.tensor([0] * 60 + [1] * 30 + [2] * 10))
    assert data.probe(20)["target"].bincount().tolist() == [12, 6, 2]
    assert data.probe(10)["target"].bincount().tolist() == [6, 3, 1]
    assert len(data.probe(1000)["target"]) == 100
    assert torch.equal(data.probe(20)["index"], data.arranged(seed=9).probe(20)["index"])
    # Not always the first of each class, and of the split that is asked for.
    assert data.probe(20)["index"].tolist() != [*range(100, 112), *range(160, 166), 190, 191]
    assert 100 <= int(data.probe(20)["index"].min()) <= int(data.probe(20)["index"].max()) < 200
    assert int(data.probe(20, "train")["index"].max()) < 100
    assert int(data.probe(20, "test")["index"].min()) >= 200


def test_a_deep_copy_before_setup_is_possible() -> None:
    assert copy.deepcopy(MadeUp()).content_hash() == MadeUp().content_hash()


def test_prints_without_loaders() -> None:
    data = MadeUp()
    assert str(data) == "MadeUp(not loaded)"
    data.setup()
    assert str(data) == "MadeUp(80 / 40 / 40)"


TABLE = torch.zeros(4, 2)
CLASSES = torch.tensor([0, 1, 0, 1])
WRONG: dict[str, tuple[Tensor, Tensor, str]] = {
    "NaN": (torch.tensor([[0.0, 1.0], [1.0, float("nan")]] * 2), CLASSES, "2 samples, inputs .'height'."),
    "NaN in a channel": (
        torch.tensor([[[0.0, 1.0, 2.0]] * 2, [[1.0, 3.0, float("nan")]] * 2]),
        CLASSES[:2],
        "inputs .2, 5",
    ),
    "regression": (TABLE, torch.rand(4), "regression and multi-label are not supported"),
    "multi-label": (TABLE, torch.ones(4, 3, dtype=torch.int64), "regression and multi-label"),
    "lengths": (TABLE, CLASSES[:3], "tensors of one length"),
    "numbers from 1": (TABLE, CLASSES + 1, "no sample of classes .0."),
    "one class": (TABLE, CLASSES * 0, "two classes the least"),
    "below -1": (TABLE, CLASSES * 3 - 2, "no sample of classes"),
}


@pytest.mark.parametrize("name", WRONG)
def test_refuses_wrong_data_in_one_line(name: str) -> None:
    inputs, target, message = WRONG[name]
    with pytest.raises(ValueError, match=message) as raised:
        Given(inputs, target, names=["width", "height"]).setup()
    assert "\n" not in str(raised.value)


class Tokens(MadeUp):
    """Three tokens of a vocabulary of that size; the last one stands first."""

    def __init__(self, vocabulary: int, inputs: Tensor) -> None:
        super().__init__(shape=(3,), classes=2)
        self.said, self.inputs = vocabulary, inputs

    def load(self) -> dict[str, dict[str, Tensor]]:
        self.vocabulary = self.said
        target = torch.tensor([0, 1])
        return {split: {"inputs": self.inputs, "target": target} for split in ("train", "val", "test")}


def test_token_numbers_stay_whole_and_their_baseline_is_padding() -> None:
    data = Tokens(5, torch.tensor([[4, 1, 0], [2, 3, 1]], dtype=torch.int16))
    data.setup()
    assert data.splits["train"]["inputs"].dtype == data.baseline.dtype == torch.int64
    assert (data.baseline.tolist(), data.description.vocabulary) == ([0, 0, 0], 5)
    larger = Tokens(6, torch.tensor([[4, 1, 0], [2, 3, 1]]))
    assert larger.content_hash() != data.content_hash()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.tensor([[5, 1, 0], [0, 0, 0]]), r"token numbers 0 \.\. 5 of a vocabulary of 5"),
        (torch.tensor([[-1, 1, 0], [0, 0, 0]]), r"token numbers -1 \.\. 1"),
        (torch.zeros(2, 3), "type torch.float32; with a vocabulary they are the tokens' numbers"),
        (torch.zeros(2, 3, 1, dtype=torch.int64), r"shape \(2, 3, 1\)"),
    ],
)
def test_refuses_what_are_no_token_numbers(inputs: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tokens(5, inputs).setup()


def test_refuses_a_missing_split() -> None:
    class Halved(MadeUp):
        def load(self) -> dict[str, dict[str, Tensor]]:
            splits = super().load()
            del splits["val"]
            return splits

    with pytest.raises(ValueError, match="Halved has no val split"):
        Halved().setup()


@pytest.mark.parametrize("name", ["baseline", "class_names", "feature_names", "classes", "inputs", "target", "mask"])
def test_the_digest_covers_all_that_reaches_a_stage(name: str) -> None:
    data = MadeUp(shape=(4,), classes=3)
    data.setup()
    before = data.content_hash()
    if name == "baseline":
        data.baseline = data.baseline + 1
    elif name == "classes":
        data.classes += 1
    elif name in ("class_names", "feature_names"):
        setattr(data, name, ["other", *getattr(data, name)[1:]])
    elif name == "mask":
        data.splits["val"]["mask"] = torch.ones_like(data.splits["val"]["inputs"])
    else:
        data.splits["test"][name] = data.splits["test"][name] + 1
    assert data.content_hash() != before


def test_without_transfer_batches_hold_the_labelled_samples_of_every_class_and_no_others() -> None:
    data = MadeUp(classes=4).arranged(seed=3, labelled=20, transfer=False)
    labelled = data.splits["train"]["target"] >= 0
    seen = torch.cat([batch["index"] for batch in data.train_dataloader()]).unique()
    assert seen.tolist() == data.splits["train"]["index"][labelled].tolist()
    assert data.splits["train"]["target"][labelled].bincount().tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize("count", [0, -1])
def test_refuses_a_batch_of_no_samples(count: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, got {count}"):
        MadeUp(batch_size=count)


def test_a_batch_of_one_sample_is_allowed() -> None:
    assert len(next(iter(MadeUp(batch_size=1).train_dataloader()))["target"]) == 1


@pytest.mark.parametrize(
    ("shape", "batch_size", "evaluated"),
    [
        ((64,), 16, 128),  # eight times, 2**18 / 64 = 4,096 are allowed
        ((1, 64, 64), 16, 64),  # 2**18 / 4,096 values of one input
        ((1, 64, 64), 100, 100),  # never fewer than in training
        ((3, 100, 100), 1, 8),  # 2**18 / 30,000 = 8.7
    ],
)
def test_a_batch_that_is_scored_is_larger_but_fits_the_cache(
    shape: tuple[int, ...], batch_size: int, evaluated: int
) -> None:
    data = MadeUp(shape=shape, samples=(100, 10, 10), batch_size=batch_size)
    assert data.evaluation_batch_size == evaluated


@pytest.mark.parametrize("missing", ["inputs", "target"])
def test_refuses_a_split_without_inputs_or_target(missing: str) -> None:
    data = Given(TABLE, CLASSES)
    data.given["mask"] = TABLE
    del data.given[missing]
    with pytest.raises(ValueError, match="Given's train split needs inputs and target, load"):
        data.setup()


def test_one_sample_is_a_split_and_none_is_not() -> None:
    class Small(Given):
        def load(self) -> dict[str, dict[str, Tensor]]:
            splits = super().load()
            return {**splits, "val": {name: tensor[: self.kept] for name, tensor in splits["val"].items()}}

    for kept in (1, 0):
        data = Small(TABLE, CLASSES)
        data.kept = kept  # type: ignore[attr-defined]
        if kept:
            data.setup()
            assert len(data.splits["val"]["target"]) == 1
        else:
            with pytest.raises(ValueError, match="Small's val split needs tensors of one length, at least 1"):
                data.setup()


def test_numbers_run_on_over_the_splits_and_a_view_is_always_the_first() -> None:
    data = MadeUp(samples=(30, 20, 12))
    data.setup()
    assert [tuple(data.splits[s]["index"][[0, -1]].tolist()) for s in ("train", "val", "test")] == [
        (0, 29),
        (30, 49),
        (50, 61),
    ]
    assert data.samples == 62
    batches = list(data.every_batch())
    assert torch.cat([batch["index"] for batch in batches]).tolist() == list(range(62))
    assert not any(batch["view"].any() for batch in batches)


def test_the_baseline_is_the_training_mean_of_a_table_and_zero_for_an_image() -> None:
    table, image = MadeUp(shape=(4,)), MadeUp(shape=(1, 2, 2))
    table.setup()
    image.setup()
    torch.testing.assert_close(table.baseline, table.splits["train"]["inputs"].mean(0))
    assert torch.equal(image.baseline, torch.zeros(1, 2, 2))


def test_the_digest_tells_types_and_shapes_of_equal_bytes_apart() -> None:
    whole, other = MadeUp(shape=(4,)), MadeUp(shape=(4,))
    for data in (whole, other):
        data.setup()
    other.splits["val"]["inputs"] = other.splits["val"]["inputs"].view(torch.int32)
    assert other.content_hash() != whole.content_hash()
    other.splits["val"]["inputs"] = whole.splits["val"]["inputs"].reshape(-1, 2)
    assert other.content_hash() != whole.content_hash()
    other.splits["val"]["inputs"] = whole.splits["val"]["inputs"]
    other.baseline = other.baseline.reshape(2, 2)
    assert other.content_hash() != whole.content_hash()


def test_the_digest_is_the_same_in_whatever_order_tensors_were_made() -> None:
    whole, other = MadeUp(), MadeUp()
    for data in (whole, other):
        data.setup()
    other.splits["train"] = dict(reversed(other.splits["train"].items()))
    assert other.content_hash() == whole.content_hash()


def test_standardised_columns_are_called_as_the_features() -> None:
    class Named(Given):
        def load(self) -> dict[str, dict[str, Tensor]]:
            return self.standardised(super().load())

    values = torch.tensor([[1.0, 10.0], [3.0, 30.0]] * 2)
    named, plain = Named(values, CLASSES, names=["width", "height"]), Named(values, CLASSES)
    for data in (named, plain):
        data.setup()
        torch.testing.assert_close(data.splits["train"]["inputs"], torch.tensor([[-1.0, -1.0], [1.0, 1.0]] * 2))
    assert [column.name for column in named.preparation.columns or []] == ["width", "height"]
    assert plain.feature_names is None


def test_copies_of_one_run_belong_to_no_trainer() -> None:
    data = MadeUp()
    data.trainer = object()  # type: ignore[assignment]
    assert data.arranged(seed=1).trainer is None
    assert data.trainer is not None


@pytest.mark.parametrize("use", ["arranged", "train", "val", "test", "probe", "samples", "size", "every", "hash"])
def test_whatever_is_asked_first_loads_the_data(use: str) -> None:
    data = MadeUp()
    asked = {
        "arranged": lambda: data.arranged(0),
        "train": data.train_dataloader,
        "val": data.val_dataloader,
        "test": data.test_dataloader,
        "probe": lambda: data.probe(3),
        "samples": lambda: data.samples,
        "size": lambda: data.evaluation_batch_size,
        "every": lambda: next(data.every_batch()),
        "hash": data.content_hash,
    }
    asked[use]()
    assert set(data.splits) == {"train", "val", "test"}


def test_class_weights_balance_the_labelled_training_samples_by_hand() -> None:
    data = Given(torch.zeros(6, 2), torch.tensor([0, 0, 0, 1, -1, -1]), names=["a", "b"])
    data.setup()
    # 4 labelled in 2 classes: 4 / (2 * 3) and 4 / (2 * 1).
    torch.testing.assert_close(data.class_weights, torch.tensor([2 / 3, 2.0]))
    alone = data.arranged(seed=0, labelled=1)
    assert sorted(alone.class_weights.tolist()) == [0.0, 1.0]
