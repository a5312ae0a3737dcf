"""schedulers/dpm_solver.py against the exact flow of a Gaussian, against diffusers, and inside ``Text2Sign.sample``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from PIL import Image
from torch import Tensor, nn

from config import ConfigError, make_config
from diffusion.text2sign import Text2Sign, create_text2sign
from main import main
from models.text_encoder import TextEncoder
from models.text_features import TextFeatures
from schedulers.dpm_solver import dpm_solver_step, log_snr_pairs, noise_level
from schedulers.noise_schedulers import NoiseSchedule, timestep_pairs
from schedulers.samplers import SAMPLERS, Step
from tests.diffusion.test_text2sign import PREDICTION_TYPES, Constant, Ideal, T, around, clips, draws, randn, some_text
from utils.runtime import generator

Pairs = list[tuple[int, int]]


@dataclass(frozen=True)
class Gaussian:
    """x_0 ~ N(mu, s^2): the best estimate of x_0 and the sampling ODE's solution are both known, here in float64."""

    schedule: NoiseSchedule
    s: float
    mu: float = 0.2

    def deviation(self, t: int) -> float:
        alpha, sigma, _ = noise_level(self.schedule, t)
        return math.sqrt(alpha**2 * self.s**2 + sigma**2)

    def estimate(self, x_t: Tensor, t: int) -> Tensor:
        """E[x_0 | x_t]."""
        alpha, _, _ = noise_level(self.schedule, t)
        return self.mu + alpha * self.s**2 / self.deviation(t) ** 2 * (x_t - alpha * self.mu)

    def flow(self, x_t: Tensor, t: int, t_prev: int) -> Tensor:
        """Where the ODE leads x_t to: x is always the same number of deviations away from its mean."""
        alpha, alpha_prev = noise_level(self.schedule, t)[0], noise_level(self.schedule, t_prev)[0]
        return alpha_prev * self.mu + self.deviation(t_prev) / self.deviation(t) * (x_t - alpha * self.mu)

    def sample(self, sampler: str, x_t: Tensor, pairs: Pairs) -> Tensor:
        """x at the end of ``pairs``, by the sampler's steps with the best estimates."""
        before = None
        for t, t_prev in pairs:
            x_0 = self.estimate(x_t, t)
            step = Step(t=t, t_prev=t_prev, x_t=x_t, x_0=x_0, before=before, eta=0.0, draw=lambda: torch.empty(0))
            x_t, before = SAMPLERS[sampler].go(self.schedule, step), (t, x_0)
        return x_t

    def error(self, sampler: str, pairs: Pairs) -> float:
        """Root mean square error at the end of ``pairs``, over x_t around the mean of their beginning."""
        x_t = torch.linspace(-2, 2, 101, dtype=torch.float64)
        wanted = self.flow(x_t, pairs[0][0], pairs[-1][1])
        return float((self.sample(sampler, x_t, pairs) - wanted).square().mean().sqrt())


# ---- The way --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise_shift", [1.0, 12.0])
def test_the_noise_level_is_half_the_log_snr_and_infinite_at_the_clean_end(noise_shift: float) -> None:
    schedule = NoiseSchedule("cosine", T, noise_shift=noise_shift)
    levels = [noise_level(schedule, t) for t in range(T)]
    doubled = torch.tensor([2 * half_log_snr for _, _, half_log_snr in levels], dtype=torch.float64)
    torch.testing.assert_close(doubled, schedule.log_snr(), rtol=1e-12, atol=1e-12)
    for alpha, sigma, half_log_snr in levels:
        assert alpha**2 + sigma**2 == pytest.approx(1, abs=1e-12)
        assert math.log(alpha / sigma) == pytest.approx(half_log_snr, abs=1e-9)
    assert noise_level(schedule, -1) == (1.0, 0.0, math.inf)


@pytest.mark.parametrize("name", ["cosine", "linear"])
@pytest.mark.parametrize("noise_shift", [0.1, 1.0, 12.0])
@pytest.mark.parametrize("num_train", [1, 2, 7, 50, 200])
def test_the_way_falls_strictly_from_the_noisiest_step_to_zero_and_the_clean_end(
    name: str, noise_shift: float, num_train: int
) -> None:
    schedule = NoiseSchedule(name, num_train, noise_shift=noise_shift)
    for n in range(1, num_train + 1):
        pairs = log_snr_pairs(schedule, n)
        assert len(pairs) == n and pairs[0][0] == num_train - 1 and pairs[-1][1] == -1
        assert all(t > t_prev for t, t_prev in pairs) and (n == 1 or pairs[-1][0] == 0)
        assert all(pair[1] == following[0] for pair, following in zip(pairs, pairs[1:], strict=False))
    assert pairs == timestep_pairs(num_train, num_train)  # all steps visit every timestep


@pytest.mark.parametrize("name", ["cosine", "linear"])
@pytest.mark.parametrize("n", [2, 10, 25])
def test_the_steps_are_as_even_in_log_snr_as_the_table_allows(name: str, n: int) -> None:
    """Each step ends at the timestep nearest to its share of the rest, or at the next where that one is too far."""
    schedule = NoiseSchedule(name, 1000, noise_shift=12.0)
    half_log_snr = schedule.log_snr().numpy() / 2
    for i, (t, t_prev) in enumerate(log_snr_pairs(schedule, n)[:-1], start=1):
        goal = half_log_snr[t] + (half_log_snr[0] - half_log_snr[t]) / (n - i)
        assert abs(half_log_snr[t_prev] - goal) == np.abs(half_log_snr[:t] - goal).min()


@pytest.mark.parametrize("n", [0, -1, 51])
def test_too_many_or_no_steps_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match="wanted 1 to 50"):
        log_snr_pairs(NoiseSchedule("cosine", 50), n)


# ---- The exact flow of a Gaussian -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cosine", "linear"])
@pytest.mark.parametrize("s", [0.3, 1.0])
def test_the_solver_is_of_second_order_and_ddim_of_first(name: str, s: float) -> None:
    """Slope of log error over log steps, 40 to 320 of them, on one and the same way.

    An order shows only where steps can shrink evenly, hence 10,000 timesteps, even steps of log-SNR and float64. The
    way ends at t = 0: the step from there to the clean end is infinite in log-SNR, however many come before. Below 40
    steps the error changes sign and its slope means nothing. For the cosine the slopes come out a little steeper, 2.1
    and 1.1, since its first steps are gaps of the table that no number of steps divides.
    """
    oracle, counts = Gaussian(NoiseSchedule(name, 10_000), s), (40, 80, 160, 320)

    def order(sampler: str) -> float:
        errors = [oracle.error(sampler, log_snr_pairs(oracle.schedule, n)[:-1]) for n in counts]
        return -float(np.polyfit(np.log(counts), np.log(errors), 1)[0])

    assert order("dpm++") >= 1.9
    assert order("ddim") == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", ["cosine", "linear"])
@pytest.mark.parametrize("s", [0.3, 1.0])
def test_130_steps_end_within_a_thousandth_of_the_exact_clip(name: str, s: float) -> None:
    """From T - 1 to the clean end, the last step included; DDIM on the same way is still ten times as far away.

    Counted in fives, 70 steps are enough for the cosine with s = 0.3, 120 with s = 1; for the linear 55 and 95.
    """
    oracle = Gaussian(NoiseSchedule(name, 10_000), s)
    pairs = log_snr_pairs(oracle.schedule, 130)
    assert oracle.error("dpm++", pairs) < 1e-3
    assert oracle.error("ddim", pairs) > 10 * oracle.error("dpm++", pairs)


@pytest.mark.parametrize("s", [0.3, 1.0, 3.0, 10.0])
def test_ten_steps_are_nearer_to_the_exact_clip_than_ddims_fifty(s: float) -> None:
    """On the demo's schedule, each sampler on its own way."""
    oracle = Gaussian(NoiseSchedule("cosine", 1000, noise_shift=12.0), s)
    assert oracle.error("dpm++", log_snr_pairs(oracle.schedule, 10)) < oracle.error("ddim", timestep_pairs(1000, 50))


# ---- diffusers ------------------------------------------------------------------------------------------------------


def theirs_for(schedule: NoiseSchedule, pairs: Pairs, prediction_type: str) -> DPMSolverMultistepScheduler:
    """Their solver on our betas and our timesteps, clean at the end, of first order in the last step."""
    powers = torch.cat([torch.ones(1, dtype=torch.float64), schedule.exact])
    theirs = DPMSolverMultistepScheduler(
        num_train_timesteps=schedule.num_steps, trained_betas=(1 - powers[1:] / powers[:-1]).tolist(),
        algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint", lower_order_final=True,
        final_sigmas_type="zero", prediction_type=prediction_type,
    )  # fmt: skip
    theirs.set_timesteps(timesteps=[t for t, _ in pairs])
    return theirs


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # their numpy call
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("num_steps", [1, 2, 6, 20])
@pytest.mark.parametrize(("name", "num_train", "way"), [
    ("cosine", 50, "even"), ("cosine", 1000, "trailing"), ("linear", 1000, "even"), ("linear", 50, "trailing"),
])  # fmt: skip
def test_the_trajectory_is_that_of_diffusers(
    name: str, num_train: int, way: str, num_steps: int, prediction_type: str
) -> None:
    schedule = NoiseSchedule(name, num_train)
    pairs = log_snr_pairs(schedule, num_steps) if way == "even" else timestep_pairs(num_train, num_steps)
    theirs = theirs_for(schedule, pairs, prediction_type)
    wanted = x_t = randn(2, 3, 4)
    clip, before = randn(2, 3, 4, seed=1), None
    for t, t_prev in pairs:
        each = torch.full((2,), t)
        off = 0.3 * randn(2, 3, 4, seed=t)  # no perfect prediction, and another one at every step
        prediction = schedule.target(clip, randn(2, 3, 4, seed=2), each, prediction_type=prediction_type) + off
        wanted = theirs.step(prediction, t, wanted).prev_sample
        x_0 = schedule.to_x_0(prediction, x_t, each, prediction_type=prediction_type)
        x_t, before = dpm_solver_step(schedule, x_t, x_0, t, t_prev, before=before), (t, x_0)
        torch.testing.assert_close(x_t, wanted, atol=1e-4, rtol=1e-3)  # theirs keeps float32 tables


# ---- Steps ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise_shift", [1.0, 12.0])
def test_a_step_that_cannot_look_back_is_the_ddim_step_with_eta_zero(noise_shift: float) -> None:
    schedule = NoiseSchedule("cosine", T, noise_shift=noise_shift)
    for t, t_prev in [(49, -1), (49, 48), (30, 12), (1, 0), (0, -1)]:
        x_t, x_0, now, then = randn(2, 5), randn(2, 5, seed=1), torch.full((2,), t), torch.full((2,), t_prev)
        ddim = schedule.ddim_step(x_t, x_0, now, then, eta=0.0, noise=torch.zeros(2, 5))
        torch.testing.assert_close(
            dpm_solver_step(schedule, x_t, x_0, t, t_prev, before=None), ddim, atol=1e-5, rtol=1e-5
        )


def test_the_step_to_the_clean_end_returns_the_estimate_to_the_bit() -> None:
    schedule, x_0 = NoiseSchedule("cosine", T), randn(2, 5)
    for t in (0, 13, 48):
        got = dpm_solver_step(schedule, randn(2, 5, seed=1), x_0, t, -1, before=(49, randn(2, 5, seed=2)))
        assert torch.equal(got, x_0)


def test_an_estimate_that_changes_with_the_log_snr_as_a_line_leaves_only_the_curvature() -> None:
    """x_0 = a + b lambda: the exact solution is sigma'/sigma x + alpha' [(1 - e^-h) x_0 + b (h - 1 + e^-h)].

    The paper takes h (1 - e^-h) / 2 for the last bracket, which is right to third order in h.
    """
    schedule, a, b = NoiseSchedule("linear", 10_000), 0.3, -0.7
    for t_before, t, t_prev in [(5200, 5100, 5000), (5300, 5100, 5000), (5110, 5100, 5000)]:
        _, sigma, half_log_snr = noise_level(schedule, t)
        alpha_prev, sigma_prev, half_log_snr_prev = noise_level(schedule, t_prev)
        h, x_t = half_log_snr_prev - half_log_snr, torch.tensor([0.5], dtype=torch.float64)
        now, earlier = (torch.tensor([a + b * noise_level(schedule, i)[2]], dtype=torch.float64) for i in (t, t_before))
        exact = sigma_prev / sigma * x_t + alpha_prev * (-math.expm1(-h) * now + b * (h + math.expm1(-h)))
        got = dpm_solver_step(schedule, x_t, now, t, t_prev, before=(t_before, earlier))
        assert float((got - exact).abs()) < abs(b) * h**3 / 10


# ---- Sampling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_steps", [1, 2, 7, T])
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_the_ideal_backbone_samples_the_clean_clip(num_steps: int, prediction_type: str) -> None:
    video = clips(1)
    model = around(nn.Identity(), prediction_type, standardise_clips=True)
    model.fit_clip_statistics(video.mean((0, 2), keepdim=True)[0], 0.4)
    model.backbone = Ideal(model.standardise(video), model.schedule, prediction_type)
    clip = model.sample(some_text(2), draws(2), num_steps=num_steps, sampler="dpm++")
    torch.testing.assert_close(clip, video.expand_as(clip), atol=1e-3, rtol=0)


class BestEstimate(nn.Module):
    """The backbone that knows a ``Gaussian`` and nothing of the text."""

    def __init__(self, oracle: Gaussian) -> None:
        super().__init__()
        self.oracle = oracle

    def forward(self, x_t: Tensor, t: Tensor, text: TextFeatures) -> Tensor:
        return self.oracle.estimate(x_t, int(t[0]))


def test_the_loop_goes_the_solvers_way_and_remembers_its_last_estimate() -> None:
    model = around(nn.Identity())
    oracle = Gaussian(model.schedule, 0.15)  # so narrow that no estimate is clipped
    model.backbone = BestEstimate(oracle)
    got = model.sample(some_text(2), draws(2), num_steps=8, sampler="dpm++")
    x_t = torch.stack([torch.randn(model.clip_shape, generator=draw) for draw in draws(2)])
    wanted = oracle.sample("dpm++", x_t, log_snr_pairs(model.schedule, 8))
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)
    assert float((wanted - oracle.sample("ddim", x_t, log_snr_pairs(model.schedule, 8))).abs().max()) > 1e-2


def test_noise_is_drawn_once_and_every_step_is_reported() -> None:
    (draw,), reported = draws(1), []
    model = around(Constant(0.1))
    model.sample(some_text(1), [draw], num_steps=7, sampler="dpm++", on_step=lambda: reported.append(1))
    (fresh,) = draws(1)
    torch.randn(model.clip_shape, generator=fresh)
    assert torch.equal(draw.get_state(), fresh.get_state()) and len(reported) == 7


def test_eta_and_unknown_samplers_are_refused_and_not_ignored() -> None:
    with pytest.raises(ValueError, match="eta=0.5 asks for noise"):
        around(Constant(0.0)).sample(some_text(1), draws(1), num_steps=3, sampler="dpm++", eta=0.5)
    with pytest.raises(KeyError, match="dpm"):
        around(Constant(0.0)).sample(some_text(1), draws(1), num_steps=3, sampler="dpm")
    with pytest.raises(ConfigError, match="ETA=0.5 asks for noise, which SAMPLER=dpm\\+\\+ never adds. Set ETA=0"):
        make_config("debug", {"SAMPLER": "dpm++", "ETA": 0.5})


@pytest.fixture(scope="module")
def model(encoder: TextEncoder) -> Text2Sign:
    """The debug model, every parameter nudged, so that text and noise both show."""
    built, draw = create_text2sign(make_config("debug"), encoder).eval(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.05)
    return built


@pytest.fixture(scope="module")
def make(model: Text2Sign, encoder: TextEncoder) -> Callable[..., Tensor]:
    """Clips for (prompt, seed) pairs."""

    def clips_for(*requests: tuple[str, int], **settings: object) -> Tensor:
        settings = {"num_steps": 6, "guidance_scale": 2.0, "sampler": "dpm++", **settings}
        noise = [generator(seed, "sample", prompt) for prompt, seed in requests]
        return model.sample(encoder.encode([prompt for prompt, _ in requests]), noise, **settings)

    return clips_for


def test_a_request_gives_the_same_clip_again_alone_and_in_a_batch(make: Callable[..., Tensor]) -> None:
    alone = make(("yes", 1))
    together = make(("where is the station", 1), ("yes", 1), ("yes", 2), ("no", 5))
    assert torch.equal(make(("yes", 1)), alone)
    torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=0)
    assert alone.shape == (1, 3, 4, 16, 16) and float(alone.abs().max()) <= 1 + 1e-5


def test_one_step_is_one_step_of_ddim_and_six_are_not_six(make: Callable[..., Tensor]) -> None:
    one, six = (make(("yes", 1), num_steps=n) for n in (1, 6))
    torch.testing.assert_close(one, make(("yes", 1), num_steps=1, sampler="ddim"), atol=1e-5, rtol=0)
    assert float((six - make(("yes", 1), sampler="ddim")).abs().max()) > 1e-3


def test_guidance_decides_how_much_the_text_says(
    make: Callable[..., Tensor], model: Text2Sign, encoder: TextEncoder
) -> None:
    plain, guided = make(("yes", 1), guidance_scale=1.0), make(("yes", 1), guidance_scale=3.0)
    assert float((plain - guided).abs().max()) > 1e-3
    settings = {"num_steps": 6, "sampler": "dpm++", "guidance_scale": 0.0}
    first, other = (model.sample(encoder.encode([prompt]), draws(1), **settings) for prompt in ("yes", "no"))
    torch.testing.assert_close(first, other, atol=1e-5, rtol=0)


# ---- Command line ---------------------------------------------------------------------------------------------------


def test_the_command_takes_the_sampler_and_the_file_and_its_name_say_so(
    trained_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["sample", "--checkpoint", str(trained_checkpoint), "--text", "yes", "--output"]
    assert main([*common, str(tmp_path / "a"), "--sampler", "dpm++"]) == 0
    (path,) = (tmp_path / "a").iterdir()
    with Image.open(path) as image:
        assert json.loads(image.info["comment"])["sampler"] == "dpm++" and "_4xdpm++_" in path.name
    capsys.readouterr()
    assert main([*common, str(tmp_path / "b"), "--sampler", "dpm++", "--eta", "0.5"]) == 2
    message = capsys.readouterr().err
    assert "ETA=0.5 asks for noise" in message and message.count("\n") == 1 and not (tmp_path / "b").exists()
