"""Guidance in an interval: ``scale_at`` and ``Text2Sign.sample``, with a backbone whose answer is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from config import ConfigError, make_config
from models.text_features import TextFeatures
from tests.diffusion.test_text2sign import Constant, E, T, around, draws


def guided(low: float, high: float, *, scale: float = 2.0, sampler: str = "ddim") -> tuple[Tensor, int]:
    """A clip of T steps by a backbone that says 0.3 with the text and 0 without it, and its number of forwards."""
    backbone, calls = Constant(0.3, by_text=True), []
    backbone.register_forward_hook(lambda *_: calls.append(1))
    text = TextFeatures(torch.ones(1, 2, E), torch.ones(1, 2, dtype=torch.bool), torch.ones(1, E))
    interval = {"guidance_low": low, "guidance_high": high}
    clip = around(backbone, "v_prediction").sample(
        text, draws(1), num_steps=T, guidance_scale=scale, sampler=sampler, **interval
    )
    return clip, len(calls)


@pytest.mark.parametrize("sampler", ["ddim", "dpm++"])
def test_guidance_everywhere_and_nowhere_are_the_scale_itself_and_plain_conditioning(sampler: str) -> None:
    """Bit for bit; the interval has its lower end and not its upper one, so that equal ends are nowhere."""
    plain, once = guided(0.0, 1.0, scale=1.0, sampler=sampler)
    full, twice = guided(0.0, 1.0, sampler=sampler)
    assert not torch.equal(full, plain) and twice == 2 * once
    for low, high in ((0.0, 0.0), (0.4, 0.4), (1.0, 1.0)):
        nowhere, num_calls = guided(low, high, sampler=sampler)
        assert torch.equal(nowhere, plain) and num_calls == once


def test_outside_the_interval_a_forward_is_spared_at_every_step() -> None:
    part, num_calls = guided(0.25, 0.75)
    inside = sum(0.25 <= t / T < 0.75 for t in range(T))
    assert 0 < inside < T and num_calls == T + inside
    assert not torch.equal(part, guided(0.0, 1.0)[0]) and not torch.equal(part, guided(0.0, 0.0)[0])
    assert torch.equal(guided(0.2, 0.4, scale=0.0)[0], guided(0.0, 1.0, scale=0.0)[0])  # no text anywhere


def test_an_interval_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ConfigError, match="GUIDANCE_LOW=0.6 lies above GUIDANCE_HIGH=0.5"):
        make_config("debug", {"GUIDANCE_LOW": 0.6, "GUIDANCE_HIGH": 0.5})
