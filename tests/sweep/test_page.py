"""What a sweep's page says of constraints."""

from types import SimpleNamespace
from typing import Any

from kdlab.sweep.page import _kept


def test_a_constraint_is_kept_up_to_its_very_bound() -> None:
    trial: Any = SimpleNamespace(constraints={"under": -0.25, "on": 0.0, "over": 0.125})
    assert [_kept(trial, name) for name in ("under", "on", "over")] == ["kept", "kept", "broken by 0.125"]
    assert _kept(trial, "unmeasured") == ""
