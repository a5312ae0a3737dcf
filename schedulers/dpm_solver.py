"""DPM-Solver++(2M): the second-order multistep solver of the sampling ODE (Lu et al. 2022, arXiv 2211.01095, alg. 2).

Between two timesteps the ODE's solution is exact but for the estimate of x_0, taken as constant by DDIM and as a line
in lambda = ln(alpha / sigma) here, drawn through the last two estimates. A step still costs one estimate. The
coefficients are float64 numbers, so that small differences of lambda survive; x_t and x_0 keep their own dtype.
"""

from __future__ import annotations

import math

from torch import Tensor

from schedulers.noise_schedulers import NoiseSchedule, check_num_steps, in_pairs


def log_snr_pairs(schedule: NoiseSchedule, num_inference_steps: int) -> list[tuple[int, int]]:
    """``[(T - 1, t), ..., (0, -1)]``: even steps of lambda from the noisiest timestep to 0, then the clean end.

    Each step goes to the timestep nearest to an even share of what is left of the way. So a gap in the table, such as
    the clipped last beta of the cosine, costs one step and not several.

    Raises:
        ValueError: more inference than training steps, or none.
    """
    check_num_steps(schedule.num_steps, num_inference_steps)
    half_log_snr = schedule.log_snr() / 2
    steps = [schedule.num_steps - 1]
    for num_left in range(num_inference_steps - 1, 0, -1):
        here = half_log_snr[steps[-1]]
        goal = here + (half_log_snr[0] - here) / num_left
        nearest = int((half_log_snr - goal).abs().argmin())
        steps.append(max(min(nearest, steps[-1] - 1), num_left - 1))  # falls, and leaves a timestep for each to come
    return in_pairs(steps)


def dpm_solver_step(
    schedule: NoiseSchedule, x_t: Tensor, x_0: Tensor, t: int, t_prev: int, *, before: tuple[int, Tensor] | None
) -> Tensor:
    """x at ``t_prev`` for any t_prev < t; all clips stand at the same timestep. (B, ...) as ``x_t`` and ``x_0``.

    ``before`` is the timestep of the previous step, above ``t``, and its estimate of x_0. Without it, the step is of
    first order and equals ``ddim_step`` with eta = 0. So is the one to the clean end, where lambda is infinite: it
    returns ``x_0``.
    """
    _, sigma, half_log_snr = noise_level(schedule, t)
    alpha_prev, sigma_prev, half_log_snr_prev = noise_level(schedule, t_prev)
    h = half_log_snr_prev - half_log_snr
    if before is not None and t_prev >= 0:
        t_before, x_0_before = before
        r = (half_log_snr - noise_level(schedule, t_before)[2]) / h
        x_0 = x_0 + (x_0 - x_0_before) / (2 * r)  # the paper's D_i
    return sigma_prev / sigma * x_t - alpha_prev * math.expm1(-h) * x_0


def noise_level(schedule: NoiseSchedule, t: int) -> tuple[float, float, float]:
    """alpha, sigma and ln(alpha / sigma), half the log-SNR, at ``t``; 1, 0 and infinity at -1, the clean end."""
    if t < 0:
        return 1.0, 0.0, math.inf
    power = float(schedule.exact[t])
    return math.sqrt(power), math.sqrt(1 - power), (math.log(power) - math.log1p(-power)) / 2
