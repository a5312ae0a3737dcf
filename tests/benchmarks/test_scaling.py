"""benchmarks/scaling.py: what is reckoned there, against closed forms."""

from __future__ import annotations

import pytest

from benchmarks.scaling import exchanged, reckon, state_bytes, step_bounds, table


def test_one_gpu_sends_nothing_and_many_send_what_a_ring_must() -> None:
    assert exchanged("ddp", 1, 100.0) == exchanged("fsdp", 1, 100.0) == 0
    assert exchanged("ddp", 2, 100.0) == 100  # half is gathered, half is reduced
    assert exchanged("ddp", 8, 100.0) == 175 and exchanged("fsdp", 8, 100.0) == 1.5 * 175
    assert exchanged("ddp", 10**9, 100.0) == pytest.approx(200)


def test_an_exchange_hides_behind_the_backward_pass_as_far_as_it_fits() -> None:
    assert step_bounds(1.0, 0.5) == (1.0, 1.5)
    assert step_bounds(1.0, 2.0) == (2.25, 3.0)


def test_sharding_divides_the_states_and_adds_two_units() -> None:
    assert state_bytes("ddp", 8, 1000, 100) == state_bytes("fsdp", 1, 1000, 100) == 16_000
    assert state_bytes("fsdp", 8, 1000, 100) == 2000 + 800


def test_one_gpu_is_as_fast_as_itself_and_none_is_faster_than_its_share() -> None:
    rows = reckon(0.2, 360_000_000, 20_000_000)
    assert rows[0]["way"] == "alone" and rows[0]["efficiency"] == [1.0, 1.0] and rows[0]["times_as_fast"] == [1, 1]
    for row in rows:
        worst, best = row["efficiency"]
        assert 0 < worst <= best <= 1 and row["times_as_fast"][1] <= row["gpus"]
    assert len(table(rows).splitlines()) == 2 + len(rows)
