"""benchmarks/scale.py: what is reckoned there, against closed forms; and what is read, from the committed results."""

from __future__ import annotations

import pytest

from benchmarks.scale import Model, Rates, measured_rates, noise_limit, parts_of_step, reckon, table
from benchmarks.scaling import Layout

RATES = Rates(peak=1000.0, share=0.5, noise=100.0, reading=50.0)
MODEL = Model("a", flops=1000.0, parameters=250, values=10, batch=2, peak_bytes=0)  # 2 s a clip, 1,000 bytes
SLOW = Layout(4, "slow", 300.0)


def test_the_parts_of_a_step_are_as_by_hand() -> None:
    """4 GPUs send 1.5 times 1,000 bytes in 5 s, of which 3/4 of 4 s are hidden."""
    wanted = {"compute": 4.0, "exchange": 2.0, "noise": 4 * 2 * 10 / 100, "reading": 2 * 10 / 50}
    assert parts_of_step(MODEL, SLOW, RATES) == pytest.approx(wanted)
    alone = parts_of_step(MODEL, Layout(1, "none", float("inf")), RATES)
    assert alone["exchange"] == 0 and alone["noise"] == pytest.approx(0.2)


def test_an_epoch_its_rate_and_its_cost_are_as_by_hand() -> None:
    row = reckon(MODEL, SLOW, RATES, clips=17, price=9.0)
    step = 4 + 2 + 0.8 + 0.4
    assert row["step_s"] == pytest.approx(step) and row["epoch_s"] == pytest.approx(3 * step)  # 8, 8 and 1 clips
    assert row["gigabytes_a_second"] == pytest.approx(80e-9 / step)
    assert row["epoch_dollars"] == pytest.approx(3 * step / 3600 * 4 * 9)
    assert row["efficiency"] == pytest.approx(4 / step) and row["largest_beside_compute"] == "exchange"
    assert len(table([row], epochs=10).splitlines()) == 3


def test_at_the_noise_limit_noise_takes_as_long_as_arithmetic() -> None:
    gpus = noise_limit(MODEL, RATES)
    assert gpus == 20
    parts = parts_of_step(MODEL, Layout(int(gpus), "any", 1.0), RATES)
    assert parts["noise"] == parts["compute"]


def test_the_rates_are_read_from_the_committed_results() -> None:
    rates = measured_rates()
    assert 0 < rates.share < 1 and rates.noise > 1e7 and rates.reading > 1e8
