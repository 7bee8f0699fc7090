"""Asking by name: what a callable wants, what it is given, and what it is told when nobody offers it."""

import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy

from kdlab.signals.vocabulary import Asked, Signals, call, wanted


def test_a_callable_wants_the_names_of_its_parameters() -> None:
    def loss(logits: float, teacher_logits: float, mask: float | None = None) -> float:
        return logits - teacher_logits

    assert wanted(loss) == {"logits", "teacher_logits", "mask"}
    assert Asked(loss).missing({"logits"}) == ["teacher_logits"]


def test_a_callable_is_given_exactly_what_it_asks_for() -> None:
    assert call(lambda logits, target: logits + target, {"logits": 1, "target": 2, "inputs": 3}) == 3


def test_an_optional_signal_is_given_where_it_exists() -> None:
    def metric(logits: int, mask: int = 0) -> int:
        return logits + mask

    assert call(metric, {"logits": 1}) == 1
    assert call(metric, {"logits": 1, "mask": 5}) == 6


def test_a_renamed_torch_loss_distils() -> None:
    signals = {"logits": torch.ones(2), "teacher_logits": torch.zeros(2)}
    value = call(torch.nn.MSELoss().forward, signals, {"input": "logits", "target": "teacher_logits"})
    assert value == 1.0


def test_a_torchmetrics_metric_is_asked_unwrapped() -> None:
    assert wanted(MulticlassAccuracy(num_classes=3).update) == {"preds", "target"}


def test_what_nobody_offers_is_named_with_the_nearest_match() -> None:
    def loss(teacher_logit: float) -> float:
        return teacher_logit

    with pytest.raises(KeyError, match=r"'teacher_logit' .did you mean 'teacher_logits'"):
        call(loss, {"logits": 1, "teacher_logits": 2})


def test_a_rename_of_a_parameter_that_does_not_exist_is_refused() -> None:
    with pytest.raises(KeyError, match=r"takes renames .'inputs'."):
        Asked(lambda logits: logits, {"inputs": "logits"})


def test_a_signal_is_computed_when_asked_for_and_once() -> None:
    computed = []
    signals = Signals({"inputs": 2}, {"logits": lambda s: computed.append(1) or s["inputs"] * 10})
    assert "logits" in signals
    assert not computed
    assert signals["logits"] + signals["logits"] == 40
    assert len(computed) == 1


def test_joined_signals_go_first_and_share_what_was_computed() -> None:
    computed = []
    signals = Signals({"inputs": 2}, {"logits": lambda s: computed.append(1) or s["inputs"] * 10})
    joined = signals.joined({"inputs": 3}, {"explained": lambda s: s["inputs"]})
    other = signals.joined({"mask": 1})
    assert (joined["explained"], joined["logits"], other["logits"], other["inputs"]) == (3, 20, 20, 2)
    assert len(computed) == 1
    assert set(joined) == {"inputs", "logits", "explained"}
