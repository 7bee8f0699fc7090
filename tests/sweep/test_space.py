"""Entries of a search, and when they exist."""

from optuna.distributions import CategoricalDistribution, FloatDistribution

from kdlab.sweep.space import Entry


def test_an_entry_exists_only_where_all_of_its_conditions_hold() -> None:
    when = {"kind": ("a", "b"), "deep": (True,)}
    entry = Entry("width", ("student.width",), FloatDistribution(0.0, 1.0), when)
    assert entry.exists({"kind": "b", "deep": True})
    assert not entry.exists({"kind": "b", "deep": False})
    assert not entry.exists({"kind": "c", "deep": True})
    assert not entry.exists({"kind": "a"})
    assert not entry.exists({})
    assert Entry("kind", ("student.kind",), CategoricalDistribution(["a", "b"])).exists({})
