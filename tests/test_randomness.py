"""Randomness with an address: opened by with, restored also after an error, resumable."""

import random

import numpy
import pytest
import torch

from kdlab.randomness import Stream, address, forked, global_state, restore_global_state


def draws() -> tuple[float, float, float]:
    return torch.rand(1).item(), float(numpy.random.rand()), random.random()


def fail(drawn: object) -> None:
    raise RuntimeError(drawn)


def test_an_address_is_the_same_everywhere_and_different_for_each_name() -> None:
    # The value is part of every fingerprinted result, so it must never change.
    assert address(0, "model") == 3539822255
    assert len({address(seed, name) for seed in range(10) for name in ("model", "explainer", "order")}) == 30


def test_a_fork_is_seeded_inside_and_changes_nothing_outside() -> None:
    with forked(3):
        first = draws()
    before = global_state()
    expected = draws()
    assert all(outside != inside for outside, inside in zip(expected, first, strict=True))
    with pytest.raises(RuntimeError), forked(3):
        fail(draws())
    # All three generators stand elsewhere by now, so what a fork draws again can come from its seed alone.
    with forked(3):
        assert draws() == first
    with forked(4):
        assert all(other != inside for other, inside in zip(draws(), first, strict=True))
    restore_global_state(before)
    with forked(99):
        draws()
    assert draws() == expected


def test_a_stream_draws_its_own_numbers_and_leaves_the_others_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    stream = Stream(7)
    drawn = []
    for _ in range(3):
        with stream:
            drawn.append(torch.rand(1).item())
    assert torch.equal(torch.rand(3), expected)
    assert drawn == torch.rand(3, generator=torch.Generator().manual_seed(7)).tolist()


def test_a_stream_goes_on_from_its_state() -> None:
    stream = Stream(7)
    with stream:
        torch.rand(1)
    other = Stream(0)
    other.load_state_dict(stream.state_dict())
    with stream:
        expected = torch.rand(1)
    with other:
        assert torch.equal(torch.rand(1), expected)
