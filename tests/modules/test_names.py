"""A term's name is a submodule's, a key of the file and a metric's at once; what cannot be all three is refused."""

import re
from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger
from torch import nn

from kdlab.callbacks.balance import Balance
from kdlab.explainers.input_gradient import InputGradient
from kdlab.explainers.neural_surrogate import NeuralSurrogate
from kdlab.losses.explanations.explanation_match import ExplanationMatch
from kdlab.losses.logits.soft_targets import SoftTargets
from kdlab.modules.distilled import Distilled
from kdlab.modules.joint import Joint
from kdlab.modules.schedules import LinearWarmUp
from kdlab.modules.term import Term
from tests.modules.fitting import fit, student, teacher

ATTRIBUTES = sorted(dir(nn.ModuleDict()))
NO_NAMES = ["", " ", "a.b", "a/b", "explainer/imitation", "1st", "a b", "a:b", "a=b", "a\nb", ".", "-a", "é.", "a$"]


def refused(name: str) -> str:
    with pytest.raises(ValueError, match="a term cannot be called") as error:
        Distilled(student(), teacher(), {name: Term(SoftTargets())})
    return str(error.value)


@pytest.mark.parametrize("name", [*ATTRIBUTES, *NO_NAMES, "task", "loss", "help_back"])
def test_a_name_that_is_taken_or_none_is_refused_in_one_line(name: str) -> None:
    said = refused(name)
    assert repr(name) in said
    assert "\n" not in said
    assert "take a letter, then letters, digits, _ and -" in said


def test_an_attribute_that_a_library_adds_later_is_taken_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Module, "added_later", None, raising=False)
    assert "is something that torch.nn.ModuleDict has already" in refused("added_later")


@pytest.mark.parametrize("name", ["soft", "hint_2", "Hint-2", "größe", "tasks", "keys_"])
def test_other_names_are_possible(name: str) -> None:
    assert f"train/{name}" in fit(Distilled(student(), teacher(), {name: Term(SoftTargets())}), 1).callback_metrics


@pytest.mark.parametrize("end", ["_weight", "_dead"])
def test_what_is_logged_of_a_term_is_no_name_of_another(end: str) -> None:
    terms = {"soft": Term(SoftTargets()), f"soft{end}": Term(SoftTargets())}
    with pytest.raises(ValueError, match=f"'soft{end}', which is how a number of term 'soft' is logged"):
        Distilled(student(), teacher(), terms)
    assert Distilled(student(), teacher(), {f"other{end}": Term(SoftTargets())})


def test_every_name_logged_under_train_is_refused_or_a_terms_own(tmp_path: Path) -> None:
    terms = {
        "soft": Term(SoftTargets(), schedule=LinearWarmUp(2)),
        "why": Term(ExplanationMatch(), explainer=InputGradient),
    }
    module = Joint(
        student(), lambda model: NeuralSurrogate(model, inputs=64, classes=3), teacher(), terms, help_back=0.1
    )
    trainer = fit(module, 1, logger=CSVLogger(tmp_path), callbacks=[Balance()], log_every_n_steps=1)
    logged = {name.removeprefix("train/") for name in trainer.logged_metrics if name.startswith("train/")}
    assert {"soft", "why", "soft_weight", "why_dead", "task", "loss", "help_back", "explainer/imitation"} <= logged
    others = sorted(logged - set(terms))
    assert others
    for name in others:
        with pytest.raises(ValueError, match="a term cannot be called " + re.escape(repr(name))):
            Distilled(student(), teacher(), {**terms, name: Term(SoftTargets())})
