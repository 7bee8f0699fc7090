"""Numbers of a sweep as people read them."""

import itertools
import re

import pytest

from kdlab.sweep.numbers import number, setting


def test_numbers_by_hand() -> None:
    assert [number(v) for v in (0.98765, 21003.0, 1e6, 1234.5, -65432.1, 0.0)] == [
        "0.9877", "21003", "1000000", "1234", "-65432", "0",
    ]  # fmt: skip
    assert number(1234567.0, 6) == "1234567"
    assert [setting(value) for value in (0.000123456, 4, "relu", True, None)] == [
        "0.0001235", "4", "relu", "True", "None",
    ]  # fmt: skip


def test_no_number_of_people_is_a_power_of_ten_and_none_loses_its_size() -> None:
    for power, first, sign in itertools.product(range(-3, 14), (1.0, 1.2345, 9.99996), (-1, 1)):
        value = sign * first * 10.0**power
        for digits in (4, 6):
            assert re.fullmatch(r"-?[\d.]+", number(value, digits)), value
            assert float(number(value, digits)) == pytest.approx(value, rel=10.0 ** (1 - digits))
