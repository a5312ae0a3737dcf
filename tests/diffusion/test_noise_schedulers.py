"""schedulers/noise_schedulers.py against closed forms, against diffusers, and against ideal predictors."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from schedulers.noise_schedulers import (
    ALPHAS_CUMPROD,
    NoiseSchedule,
    cosine_alphas_cumprod,
    linear_alphas_cumprod,
    shift_noise,
    timestep_pairs,
)

T = 50
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
SCHEDULES = ("cosine", "linear")


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def steps_of(num_clips: int, step: int) -> Tensor:
    return torch.full((num_clips,), step)


def ddim_loop(
    schedule: NoiseSchedule, x_t: Tensor, predictor: object, *, num_steps: int, prediction_type: str
) -> Tensor:
    """Deterministic DDIM from ``x_t`` with ``predictor(x_t, t)`` as the backbone."""
    for t, t_prev in timestep_pairs(schedule.num_steps, num_steps):
        now, then = steps_of(len(x_t), t), steps_of(len(x_t), t_prev)
        x_0 = schedule.to_x_0(predictor(x_t, now), x_t, now, prediction_type=prediction_type)
        x_t = schedule.ddim_step(x_t, x_0, now, then, eta=0.0, noise=torch.zeros_like(x_t))
    return x_t


# ---- Tables ---------------------------------------------------------------------------------------------------------


def test_the_cosine_table_is_nichol_and_dhariwals_formula_wherever_beta_is_not_clipped() -> None:
    f = [math.cos((i / T + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(T + 1)]
    table = cosine_alphas_cumprod(T)
    for t in range(T - 1):
        assert float(table[t]) == pytest.approx(f[t + 1] / f[0], rel=1e-12)
    assert float(table[-1]) == pytest.approx(f[T - 1] / f[0] * (1 - 0.999), rel=1e-12)  # the last beta is clipped
    assert float(table[0]) == pytest.approx(0.99825, abs=5e-6)
    assert float(table[-1]) == pytest.approx(9.7e-7, rel=5e-3)


def test_the_linear_table_is_the_product_of_hos_betas() -> None:
    product = 1.0
    for t, alpha in enumerate(linear_alphas_cumprod(1000).tolist()):
        product *= 1 - (1e-4 + (0.02 - 1e-4) * t / 999)
        assert alpha == pytest.approx(product, rel=1e-12)


@pytest.mark.parametrize("name", ALPHAS_CUMPROD)
@pytest.mark.parametrize("num_steps", [2, 5, 20, 50, 1000])
def test_tables_are_float64_and_fall_strictly_between_one_and_zero(name: str, num_steps: int) -> None:
    table = ALPHAS_CUMPROD[name](num_steps)
    assert table.dtype == torch.float64 and table.shape == (num_steps,)
    assert 0 < table[-1] and table[0] < 1 and bool((table.diff() < 0).all())


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("shift", [0.25, 1.0, 3.0, 12.0])
def test_a_shift_lowers_the_log_snr_everywhere_by_twice_its_logarithm(name: str, shift: float) -> None:
    plain, shifted = NoiseSchedule(name, T).log_snr(), NoiseSchedule(name, T, noise_shift=shift).log_snr()
    torch.testing.assert_close(plain - shifted, torch.full_like(plain, 2 * math.log(shift)), atol=1e-9, rtol=0)


def test_a_shift_multiplies_the_ratio_of_noise_to_signal() -> None:
    plain = cosine_alphas_cumprod(T)
    shifted = shift_noise(plain, 12.0)
    torch.testing.assert_close((1 - shifted) / shifted, 144 * (1 - plain) / plain, atol=0, rtol=1e-9)
    torch.testing.assert_close(shift_noise(plain, 1.0), plain, atol=0, rtol=1e-15)


def test_the_schedule_puts_nothing_into_a_checkpoint_and_computes_in_float32() -> None:
    schedule = NoiseSchedule("cosine", T)
    assert schedule.state_dict() == {} and schedule.exact.dtype == torch.float64
    assert schedule.add_noise(randn(1, 2), randn(1, 2), torch.tensor([3])).dtype == torch.float32


# ---- Noise and conversions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
def test_alpha_and_sigma_have_unit_power_at_every_step(name: str) -> None:
    """Noise added to nothing leaves sigma, a clip without noise leaves alpha."""
    schedule, t = NoiseSchedule(name, T), torch.arange(T)
    one, zero = torch.ones(T, 1), torch.zeros(T, 1)
    alpha = schedule.add_noise(one, zero, t).double()[:, 0]
    sigma = schedule.add_noise(zero, one, t).double()[:, 0]
    torch.testing.assert_close(alpha, schedule.exact.sqrt(), atol=0, rtol=1e-7)
    torch.testing.assert_close(sigma, (1 - schedule.exact).sqrt(), atol=0, rtol=1e-7)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(T, dtype=torch.float64), atol=2e-7, rtol=0)


def test_each_clip_gets_the_noise_of_its_own_timestep() -> None:
    schedule = NoiseSchedule("cosine", T)
    x_0, eps, t = randn(3, 2, 4, 5, 5), randn(3, 2, 4, 5, 5, seed=1), torch.tensor([0, 20, 49])
    x_t = schedule.add_noise(x_0, eps, t)
    for i, step in enumerate(t.tolist()):
        power = float(schedule.exact[step])
        torch.testing.assert_close(x_t[i], math.sqrt(power) * x_0[i] + math.sqrt(1 - power) * eps[i])


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_the_target_of_every_prediction_type_stands_for_the_clean_clip_at_every_step(
    name: str, prediction_type: str
) -> None:
    schedule, t = NoiseSchedule(name, T), torch.arange(T)
    x_0, eps = randn(T, 3, 4), randn(T, 3, 4, seed=1)
    x_t = schedule.add_noise(x_0, eps, t)
    target = schedule.target(x_0, eps, t, prediction_type=prediction_type)
    x_0_hat = schedule.to_x_0(target, x_t, t, prediction_type=prediction_type)
    rounding = 1e-6 / schedule.exact.sqrt() if prediction_type == "epsilon" else torch.full((T,), 1e-5)
    assert bool(((x_0_hat - x_0).abs().amax((1, 2)) < rounding.clamp(min=1e-5)).all())
    rounding = (1e-6 / (1 - schedule.exact).sqrt()).clamp(min=1e-5)
    assert bool(((schedule.to_eps(x_0, x_t, t) - eps).abs().amax((1, 2)) < rounding).all())


def test_the_v_target_is_the_noisy_clip_turned_by_a_right_angle() -> None:
    """d x_t / d phi for alpha = cos phi and sigma = sin phi (Salimans & Ho 2022, appendix D)."""
    schedule, t = NoiseSchedule("cosine", T), torch.arange(T)
    x_0, eps = randn(T, 6), randn(T, 6, seed=1)
    phi = torch.acos(schedule.exact.sqrt())[:, None]
    derivative = (torch.cos(phi + 1e-6) - torch.cos(phi - 1e-6)) / 2e-6 * x_0
    derivative = derivative + (torch.sin(phi + 1e-6) - torch.sin(phi - 1e-6)) / 2e-6 * eps
    v = schedule.target(x_0, eps, t, prediction_type="v_prediction")
    torch.testing.assert_close(v.double(), derivative, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_weights_the_error_of_x_0_by_the_clamped_snr_whatever_is_predicted(gamma: float) -> None:
    """A given error of x_0 is a larger or smaller one of eps and v; weighted, all three losses agree."""
    schedule, t = NoiseSchedule("cosine", T), torch.arange(T)
    snr = schedule.exact / (1 - schedule.exact)
    error_of = {"epsilon": snr, "v_prediction": 1 / (1 - schedule.exact), "sample": torch.ones_like(snr)}
    for prediction_type in PREDICTION_TYPES:
        weight = schedule.min_snr_weight(t, gamma=gamma, prediction_type=prediction_type).double()
        assert weight.shape == (T,)
        torch.testing.assert_close(weight * error_of[prediction_type], snr.clamp(max=gamma), atol=0, rtol=2e-5)


# ---- Steps ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_train", [1, 2, 3, 7, 49, 50, 97, 1000])
def test_timesteps_trail_from_the_noisiest_to_the_clean_end_and_never_stand_still(num_train: int) -> None:
    for n in range(1, num_train + 1):
        pairs = timestep_pairs(num_train, n)
        assert len(pairs) == n and pairs[0][0] == num_train - 1 and pairs[-1][1] == -1
        assert all(t > t_prev for t, t_prev in pairs)
        assert all(pair[1] == following[0] for pair, following in zip(pairs, pairs[1:], strict=False))


def test_all_steps_visit_every_timestep() -> None:
    assert timestep_pairs(4, 4) == [(3, 2), (2, 1), (1, 0), (0, -1)]
    assert timestep_pairs(1000, 4) == [(999, 749), (749, 499), (499, 249), (249, -1)]


@pytest.mark.parametrize("n", [3, 6, 7, 11, 13, 30])
def test_timesteps_that_do_not_divide_are_rounded_as_by_diffusers(n: int) -> None:
    theirs = DDIMScheduler(num_train_timesteps=T, timestep_spacing="trailing")
    theirs.set_timesteps(n)
    assert [t for t, _ in timestep_pairs(T, n)] == theirs.timesteps.tolist()


@pytest.mark.parametrize("n", [0, -1, 51])
def test_too_many_or_no_steps_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match="wanted 1 to 50"):
        timestep_pairs(50, n)


def diffusers_settings(name: str) -> dict[str, object]:
    if name == "cosine":
        return {"beta_schedule": "squaredcos_cap_v2"}
    return {"beta_schedule": "linear", "beta_start": 1e-4 * 1000 / T, "beta_end": 0.02 * 1000 / T}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("eta", [0.0, 0.5])
@pytest.mark.parametrize("num_steps", [5, 50])
def test_ddim_steps_are_those_of_diffusers(name: str, prediction_type: str, eta: float, num_steps: int) -> None:
    theirs = DDIMScheduler(
        num_train_timesteps=T, prediction_type=prediction_type, timestep_spacing="trailing", set_alpha_to_one=True,
        clip_sample=False, **diffusers_settings(name),
    )  # fmt: skip
    theirs.set_timesteps(num_steps)
    ours = NoiseSchedule(name, T)
    pairs = timestep_pairs(T, num_steps)
    assert theirs.timesteps.tolist() == [t for t, _ in pairs]
    for t, t_prev in pairs:
        x_t, prediction, noise = randn(2, 3, 4, seed=t), randn(2, 3, 4, seed=t + 100), randn(2, 3, 4, seed=t + 200)
        wanted = theirs.step(prediction, t, x_t, eta=eta, variance_noise=noise if eta else None).prev_sample
        now, then = steps_of(2, t), steps_of(2, t_prev)
        x_0 = ours.to_x_0(prediction, x_t, now, prediction_type=prediction_type)
        got = ours.ddim_step(x_t, x_0, now, then, eta=eta, noise=noise)
        torch.testing.assert_close(got, wanted, atol=2e-5, rtol=2e-4)  # theirs keeps float32 tables


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_ddim_steps_with_eta_one_are_the_ddpm_steps_of_diffusers(name: str, prediction_type: str) -> None:
    theirs = DDPMScheduler(
        num_train_timesteps=T, prediction_type=prediction_type, variance_type="fixed_small", clip_sample=False,
        **diffusers_settings(name),
    )  # fmt: skip
    theirs.set_timesteps(T)
    ours = NoiseSchedule(name, T)
    for t, t_prev in timestep_pairs(T, T):
        x_t, prediction = randn(2, 3, 4, seed=t), randn(2, 3, 4, seed=t + 100)
        wanted = theirs.step(prediction, t, x_t, generator=torch.Generator().manual_seed(t + 200)).prev_sample
        now, then = steps_of(2, t), steps_of(2, t_prev)
        x_0 = ours.to_x_0(prediction, x_t, now, prediction_type=prediction_type)
        got = ours.ddim_step(x_t, x_0, now, then, eta=1.0, noise=randn(2, 3, 4, seed=t + 200))
        torch.testing.assert_close(got, wanted, atol=2e-5, rtol=2e-4)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_a_ddim_step_loses_nothing_to_cancellation_where_little_noise_is_left(eta: float) -> None:
    """Its factor of eps (Song et al. 2021, eq. 12 and 16) in float64, from the exact table, for every pair of steps."""
    schedule, (t, t_prev) = NoiseSchedule("cosine", T, noise_shift=0.25), torch.tril_indices(T, T, -1)
    now, then = schedule.exact[t], schedule.exact[t_prev]
    wanted = (1 - then - eta**2 * (1 - then) / (1 - now) * (1 - now / then)).sqrt()
    zero = torch.zeros(len(t))
    x_t = schedule.add_noise(zero, torch.ones(len(t)), t)
    got = schedule.ddim_step(x_t, zero, t, t_prev, eta=eta, noise=zero)
    torch.testing.assert_close(got.double(), wanted, atol=0, rtol=2e-6)


def test_the_last_step_returns_the_estimate_without_noise() -> None:
    schedule = NoiseSchedule("cosine", T)
    x_0 = randn(2, 5)
    for t in (0, 13, 49):
        arguments = (randn(2, 5, seed=1), x_0, steps_of(2, t), steps_of(2, -1))
        torch.testing.assert_close(schedule.ddim_step(*arguments, eta=1.0, noise=randn(2, 5, seed=2)), x_0)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("noise_shift", [0.1, 1.0, 12.0])
@pytest.mark.parametrize("num_steps", [25, 1000])
def test_the_posteriors_coefficients_are_those_of_float64_at_both_ends(
    name: str, noise_shift: float, num_steps: int
) -> None:
    """From sigma = 6e-4 to 1: both coefficients of the mean within 1e-6, the deviation within 5e-5 of itself."""
    schedule = NoiseSchedule(name, 1000, noise_shift=noise_shift)
    t, t_prev = torch.tensor(timestep_pairs(1000, num_steps)).T
    power = torch.cat([schedule.exact, torch.ones(1, dtype=torch.float64)])
    now, then = power[t], power[t_prev]
    beta = 1 - now / then
    of_x_0, of_x_t = then.sqrt() * beta / (1 - now), (now / then).sqrt() * (1 - then) / (1 - now)
    deviation = ((1 - then) / (1 - now) * beta).sqrt()
    one, zero = torch.ones(len(t)), torch.zeros(len(t))
    for x_t, x_0, noise, wanted, atol, rtol in (
        (zero, one, zero, of_x_0, 1e-6, 0.0),
        (one, zero, zero, of_x_t, 1e-6, 0.0),
        (zero, zero, one, deviation, 0.0, 5e-5),
    ):
        got = schedule.ddim_step(x_t, x_0, t, t_prev, eta=1.0, noise=noise)
        torch.testing.assert_close(got.double(), wanted, atol=atol, rtol=rtol)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_a_step_with_the_true_clip_keeps_the_marginal_distribution(eta: float) -> None:
    """From x_t = alpha x_0 + sigma eps: mean alpha_prev x_0, variance sigma_prev^2 (Song et al. 2021, lemma 1)."""
    schedule, num = NoiseSchedule("cosine", T), 200_000
    for t, t_prev in [(49, 40), (30, 12), (5, 0)]:
        x_0 = torch.full((num,), 0.7)
        now, then = steps_of(num, t), steps_of(num, t_prev)
        x_t = schedule.add_noise(x_0, randn(num, seed=1), now)
        x_prev = schedule.ddim_step(x_t, x_0, now, then, eta=eta, noise=randn(num, seed=2)).double()
        power = float(schedule.exact[t_prev])
        assert float(x_prev.mean()) == pytest.approx(0.7 * math.sqrt(power), abs=5 * math.sqrt((1 - power) / num))
        assert float(x_prev.var()) == pytest.approx(1 - power, rel=5 * math.sqrt(2 / num))


# ---- Ideal predictors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_steps", [1, 2, 7, T])
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_ddim_with_the_ideal_predictor_returns_the_clean_clip(num_steps: int, prediction_type: str) -> None:
    schedule, x_0 = NoiseSchedule("cosine", T), randn(2, 3, 4)

    def ideal(x_t: Tensor, t: Tensor) -> Tensor:
        return schedule.target(x_0, schedule.to_eps(x_0, x_t, t), t, prediction_type=prediction_type)

    x = ddim_loop(schedule, randn(2, 3, 4, seed=1), ideal, num_steps=num_steps, prediction_type=prediction_type)
    torch.testing.assert_close(x, x_0, atol=5e-4, rtol=0)


@pytest.mark.parametrize("num_steps", [1, 2, 7, 50])
def test_ddim_with_the_ideal_gaussian_predictor_is_the_exact_linear_map(num_steps: int) -> None:
    """x_0 ~ N(mu, s^2): with V = alpha^2 s^2 + sigma^2 every step multiplies x_t - alpha mu by
    (alpha alpha' s^2 + sigma sigma') / V."""
    schedule, mu, s = NoiseSchedule("cosine", T), 0.4, 0.3
    power = [*schedule.exact.tolist(), 1.0]
    factor = 1.0
    for t, t_prev in timestep_pairs(T, num_steps):
        a, b = power[t], power[t_prev]
        factor *= (math.sqrt(a * b) * s**2 + math.sqrt((1 - a) * (1 - b))) / (a * s**2 + 1 - a)
    wanted = mu + factor * (randn(1000) - math.sqrt(power[T - 1]) * mu)

    def ideal(x_t: Tensor, t: Tensor) -> Tensor:
        a = schedule.exact[t]
        return (mu + a.sqrt() * s**2 / (a * s**2 + 1 - a) * (x_t - a.sqrt() * mu)).float()

    x = ddim_loop(schedule, randn(1000), ideal, num_steps=num_steps, prediction_type="sample")
    torch.testing.assert_close(x, wanted, atol=1e-5, rtol=0)


def test_ddim_comes_the_closer_to_the_true_deviation_the_more_steps_it_takes() -> None:
    """Every factor is at most sqrt(V' / V), so the endpoint is too narrow, and right in the limit."""
    power, s = [*cosine_alphas_cumprod(1000).tolist(), 1.0], 0.3

    def deviation(num_steps: int) -> float:
        result = 1.0
        for t, t_prev in timestep_pairs(1000, num_steps):
            a, b = power[t], power[t_prev]
            result *= (math.sqrt(a * b) * s**2 + math.sqrt((1 - a) * (1 - b))) / (a * s**2 + 1 - a)
        return result

    deviations = [deviation(n) for n in (1, 5, 25, 125, 1000)]
    assert deviations == sorted(deviations) and 0.99 * s < deviations[-1] <= s
