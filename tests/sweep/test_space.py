"""Entries of a search, and when they exist."""

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial

from kdlab.sweep.space import Entry, Space


def test_an_entry_exists_only_where_all_of_its_conditions_hold() -> None:
    when = {"kind": ("a", "b"), "deep": (True,)}
    entry = Entry("width", ("student.width",), FloatDistribution(0.0, 1.0), when)
    assert entry.exists({"kind": "b", "deep": True})
    assert not entry.exists({"kind": "b", "deep": False})
    assert not entry.exists({"kind": "c", "deep": True})
    assert not entry.exists({"kind": "a"})
    assert not entry.exists({})
    assert Entry("kind", ("student.kind",), CategoricalDistribution(["a", "b"])).exists({})


def test_a_trial_has_those_entries_alone_that_exist_for_it() -> None:
    kind = Entry("kind", ("student.kind",), CategoricalDistribution(["a", "b"]))
    space = Space((kind, Entry("width", ("student.width",), FloatDistribution(0.0, 1.0), {"kind": ("a",)})))
    assert space.suggest(FixedTrial({"kind": "a", "width": 0.5})) == {"kind": "a", "width": 0.5}
    assert space.suggest(FixedTrial({"kind": "b", "width": 0.5})) == {"kind": "b"}


def test_every_end_of_every_entry_is_tried_before_a_sweep() -> None:
    kind = Entry("kind", ("student.kind",), CategoricalDistribution(["a", "b"]))
    width = Entry("width", ("student.width",), IntDistribution(2, 9), {"kind": ("b",)})
    corners = list(Space((kind, width)).corners())
    assert {"kind": "a"} in corners
    assert {"kind": "b", "width": 2} in corners
    assert {"kind": "b", "width": 9} in corners


def test_a_logarithmic_range_is_searched_so() -> None:
    class Asked(FixedTrial):
        def suggest_float(self, name: str, low: float, high: float, **how: object) -> float:
            assert how == {"step": None, "log": True}
            return super().suggest_float(name, low, high)

    entry = Entry("rate", ("student.rate",), FloatDistribution(1e-4, 1.0, log=True))
    assert entry.suggest(Asked({"rate": 0.01})) == 0.01
