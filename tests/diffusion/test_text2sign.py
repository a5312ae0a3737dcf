"""diffusion/text2sign.py: noise, loss, guidance and sampling, with stand-in backbones whose answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from config import Config
from diffusion.text2sign import Text2Sign, TrainingNoise, create_text2sign, guide, training_noise
from models.text_encoder import TextEncoder
from models.text_features import TextFeatures
from schedulers.noise_schedulers import NoiseSchedule
from utils.runtime import generator

T = 50
SHAPE = (3, 4, 6, 6)  # channels, frames, px, px
E = 5  # width of the text features
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


class Constant(nn.Module):
    """Predicts ``value`` everywhere, times the mean of the pooled text if ``by_text``."""

    def __init__(self, value: float, *, by_text: bool = False) -> None:
        super().__init__()
        self.value, self.by_text = value, by_text

    def forward(self, x_t: Tensor, t: Tensor, text: TextFeatures) -> Tensor:
        out = torch.full_like(x_t, self.value)
        return out * text.pooled.mean(1).view(-1, 1, 1, 1, 1) if self.by_text else out


class Ideal(nn.Module):
    """Knows the clean clip and predicts what a schedule asks for."""

    def __init__(self, x_0: Tensor, schedule: NoiseSchedule, prediction_type: str) -> None:
        super().__init__()
        self.x_0, self.schedule, self.prediction_type = x_0, schedule, prediction_type

    def forward(self, x_t: Tensor, t: Tensor, text: TextFeatures) -> Tensor:
        x_0 = self.x_0.expand_as(x_t)
        eps = self.schedule.to_eps(x_0, x_t, t)
        return self.schedule.target(x_0, eps, t, prediction_type=self.prediction_type)


def around(backbone: nn.Module, prediction_type: str = "sample", **settings: object) -> Text2Sign:
    """The process around a stand-in backbone; nothing is standardised unless asked for."""
    defaults = {"standardise_clips": False, "standardise_text": False}
    return Text2Sign(
        backbone, NoiseSchedule("cosine", T), prediction_type=prediction_type, clip_shape=SHAPE, text_width=E,
        **{**defaults, **settings},
    )  # fmt: skip


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def clips(num: int, seed: int = 3) -> Tensor:
    """(num, *SHAPE) in [-1, 1]."""
    return torch.rand(num, *SHAPE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def some_text(num: int) -> TextFeatures:
    return TextFeatures(randn(num, 2, E), torch.ones(num, 2, dtype=torch.bool), randn(num, E, seed=1))


def noise_of(num: int, *, step: int = 0, caption_dropout: float = 0.0) -> TrainingNoise:
    return training_noise(0, step, num_clips=num, shape=SHAPE, num_steps=T, caption_dropout=caption_dropout)


def draws(num: int) -> list[torch.Generator]:
    return [generator(0, "test", i) for i in range(num)]


# ---- Training noise -------------------------------------------------------------------------------------------------


def test_training_noise_is_a_pure_function_of_seed_and_step() -> None:
    first = noise_of(4, step=3)
    torch.manual_seed(123)
    torch.rand(7)
    again = noise_of(4, step=3)
    assert torch.equal(first.eps, again.eps) and torch.equal(first.t, again.t) and torch.equal(first.drop, again.drop)
    assert not torch.equal(first.eps, noise_of(4, step=4).eps)
    other = training_noise(1, 3, num_clips=4, shape=SHAPE, num_steps=T, caption_dropout=0.0)
    assert not torch.equal(first.eps, other.eps)


def test_training_noise_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    noise_of(4)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("num_clips", [1, 2, 5, 10, 50])
def test_every_stratum_of_the_timesteps_is_hit_exactly_once(num_clips: int) -> None:
    for step in range(50):
        t = training_noise(0, step, num_clips=num_clips, shape=(1,), num_steps=T, caption_dropout=0.0).t
        assert t.dtype == torch.int64 and 0 <= int(t.min()) and int(t.max()) < T
        assert sorted((t * num_clips // T).tolist()) == list(range(num_clips))


def test_every_timestep_is_drawn_equally_often() -> None:
    drawn = torch.cat(
        [training_noise(0, s, num_clips=2, shape=(1,), num_steps=10, caption_dropout=0.0).t for s in range(2000)]
    )
    counts = torch.bincount(drawn, minlength=10)
    assert int((counts - 400).abs().max()) < 5 * math.sqrt(400)


def test_training_noise_has_zero_mean_and_unit_deviation() -> None:
    eps = training_noise(0, 0, num_clips=8, shape=(3, 16, 32, 32), num_steps=T, caption_dropout=0.0).eps
    assert abs(float(eps.mean())) < 5 / math.sqrt(eps.numel()) and float(eps.std()) == pytest.approx(1, abs=0.01)


def test_captions_are_dropped_at_the_stated_rate() -> None:
    def rate(dropout: float) -> float:
        drawn = [
            training_noise(0, s, num_clips=4, shape=(1,), num_steps=T, caption_dropout=dropout) for s in range(500)
        ]
        return float(torch.cat([noise.drop for noise in drawn]).float().mean())

    assert rate(0.0) == 0.0 and rate(1.0) == 1.0
    assert rate(0.1) == pytest.approx(0.1, abs=5 * math.sqrt(0.09 / 2000))


def test_slices_of_the_noise_are_the_noise_of_those_clips() -> None:
    noise = noise_of(4)
    assert torch.equal(noise[1:3].eps, noise.eps[1:3]) and torch.equal(noise[1:3].t, noise.t[1:3])


# ---- Loss -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_the_loss_of_a_silent_backbone_is_the_power_of_its_target(prediction_type: str) -> None:
    video, noise = clips(4), noise_of(4)
    schedule = NoiseSchedule("cosine", T)
    alpha, sigma = (part[noise.t].sqrt().float().view(-1, 1, 1, 1, 1) for part in (schedule.exact, 1 - schedule.exact))
    target = {"epsilon": noise.eps, "sample": video, "v_prediction": alpha * noise.eps - sigma * video}[prediction_type]
    loss = around(Constant(0.0), prediction_type)(video, some_text(4), noise)
    assert loss.shape == (4,) and loss.dtype == torch.float32
    torch.testing.assert_close(loss, target.square().mean((1, 2, 3, 4)))


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_the_loss_of_the_ideal_backbone_is_zero(prediction_type: str) -> None:
    video, noise = clips(1), noise_of(1, step=2)
    model = around(Ideal(video, NoiseSchedule("cosine", T), prediction_type), prediction_type)
    assert float(model(video, some_text(1), noise)) < 1e-6
    assert float(model.denoising_error(video, some_text(1), noise.eps, noise.t)) < 1e-6


def test_min_snr_weights_every_clip_by_its_own_timestep() -> None:
    video, noise = clips(4), noise_of(4)
    plain = around(Constant(0.0))(video, some_text(4), noise)
    weighted = around(Constant(0.0), min_snr_gamma=5.0)(video, some_text(4), noise)
    power = NoiseSchedule("cosine", T).exact[noise.t]
    torch.testing.assert_close(weighted, plain * (power / (1 - power)).clamp(max=5.0).float(), atol=0, rtol=1e-4)


def test_dropped_captions_reach_the_backbone_as_the_null_prompt() -> None:
    model, video, noise = around(Constant(1.0, by_text=True)), clips(4), noise_of(4, caption_dropout=1.0)
    torch.testing.assert_close(model(video, some_text(4), noise), video.square().mean((1, 2, 3, 4)))


def test_standardise_and_unstandardise_are_inverse() -> None:
    model = around(Constant(0.0), standardise_clips=True)
    model.fit_clip_statistics(randn(3, 1, 6, 6) * 0.3, 0.2)
    video = clips(2)
    torch.testing.assert_close(model.unstandardise(model.standardise(video)), video, atol=1e-6, rtol=0)
    torch.testing.assert_close(model.standardise(model.clip_mean + 0.2), torch.ones(3, 1, 6, 6))


def test_statistics_travel_in_the_state_dict_and_are_ignored_where_not_wanted() -> None:
    assert {"clip_mean", "clip_std"} <= set(around(Constant(0.0)).state_dict())
    model = around(Constant(0.0))
    model.fit_clip_statistics(torch.ones(3, 1, 6, 6), 0.2)
    assert torch.equal(model.standardise(clips(1)), clips(1))


# ---- Guidance -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_guidance_is_linear_from_without_text_to_with_text(scale: float) -> None:
    assert guide(torch.tensor(2.0), torch.tensor(3.0), guidance_scale=scale) == 2.0 + scale


@pytest.mark.parametrize(("scale", "wanted"), [(0.0, 0.0), (1.0, 0.3), (2.0, 0.6), (5.0, 1.0)])
def test_guidance_exaggerates_the_text_until_pixels_are_clipped(scale: float, wanted: float) -> None:
    """The backbone says 0.3 with the text, 0 with the null prompt."""
    text = TextFeatures(torch.ones(1, 2, E), torch.ones(1, 2, dtype=torch.bool), torch.ones(1, E))
    clip = around(Constant(0.3, by_text=True)).sample(text, draws(1), num_steps=3, guidance_scale=scale)
    torch.testing.assert_close(clip, torch.full_like(clip, wanted), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("scale", "num_calls"), [(0.0, 1), (1.0, 1), (2.0, 2)])
def test_guidance_costs_a_second_forward_only_where_it_needs_one(scale: float, num_calls: int) -> None:
    backbone, calls = Constant(0.0), []
    backbone.register_forward_hook(lambda *_: calls.append(1))
    around(backbone).sample(some_text(1), draws(1), num_steps=3, guidance_scale=scale)
    assert len(calls) == 3 * num_calls


# ---- Sampling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_steps", [1, 7, T])
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("standardised", [False, True])
def test_the_ideal_backbone_samples_the_clean_clip(num_steps: int, prediction_type: str, standardised: bool) -> None:
    video = clips(1)
    model = around(nn.Identity(), prediction_type, standardise_clips=standardised)
    model.fit_clip_statistics(video.mean((0, 2), keepdim=True)[0], 0.4)
    model.backbone = Ideal(model.standardise(video), model.schedule, prediction_type)
    for settings in ({"eta": 0.0}, {"eta": 1.0}, {"sampler": "ddpm"}):
        clip = model.sample(some_text(2), draws(2), num_steps=num_steps, **settings)
        torch.testing.assert_close(clip, video.expand_as(clip), atol=1e-3, rtol=0)


def test_an_error_in_eps_at_the_noisy_end_is_clipped_before_it_is_multiplied_by_a_thousand() -> None:
    clip = around(Constant(0.0), "epsilon").sample(some_text(1), draws(1), num_steps=T)
    assert bool(clip.isfinite().all()) and float(clip.abs().max()) <= 1.0 + 1e-5


def test_every_step_is_reported() -> None:
    steps = []
    around(Constant(0.0)).sample(some_text(2), draws(2), num_steps=7, on_step=lambda: steps.append(1))
    assert len(steps) == 7


@pytest.fixture(scope="module")
def model(encoder: TextEncoder) -> Text2Sign:
    """The debug model, every parameter nudged, so that text and noise both show."""
    from config import make_config

    built = create_text2sign(make_config("debug"), encoder).eval()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.05)
    return built


def make(model: Text2Sign, encoder: TextEncoder, requests: list[tuple[str, int]], **settings: object) -> Tensor:
    """Clips for (prompt, seed) pairs."""
    text = encoder.encode([prompt for prompt, _ in requests])
    settings = {"num_steps": 6, "guidance_scale": 2.0, **settings}
    return model.sample(text, [generator(seed, "sample", prompt) for prompt, seed in requests], **settings)


@pytest.mark.parametrize("settings", [{}, {"eta": 1.0}, {"sampler": "ddpm"}], ids=str)
def test_a_request_gives_the_same_clip_alone_and_in_a_batch(
    model: Text2Sign, encoder: TextEncoder, settings: dict[str, object]
) -> None:
    alone = make(model, encoder, [("yes", 1)], **settings)
    together = make(model, encoder, [("where is the station", 1), ("yes", 1), ("yes", 2), ("no", 5)], **settings)
    torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=0)
    assert alone.shape == (1, 3, 4, 16, 16) and float(alone.abs().max()) <= 1 + 1e-5


def test_different_seeds_and_different_prompts_give_different_clips(model: Text2Sign, encoder: TextEncoder) -> None:
    first, other_seed, other_text = make(model, encoder, [("yes", 1), ("yes", 2), ("no", 1)])
    assert float((first - other_seed).abs().max()) > 0.01 and float((first - other_text).abs().max()) > 0.01


def test_the_clip_depends_on_the_text_and_not_only_on_its_noise(model: Text2Sign, encoder: TextEncoder) -> None:
    text = encoder.encode(["yes", "no"])
    same_noise = [generator(0, "same"), generator(0, "same")]
    yes, no = model.sample(text, same_noise, num_steps=6)
    assert float((yes - no).abs().max()) > 1e-3
    same_noise = [generator(0, "same"), generator(0, "same")]
    yes, no = model.sample(text, same_noise, num_steps=6, guidance_scale=0.0)
    torch.testing.assert_close(yes, no, atol=1e-5, rtol=0)  # guidance 0 ignores it


def test_eta_changes_the_clip_and_can_be_repeated(model: Text2Sign, encoder: TextEncoder) -> None:
    plain, random = make(model, encoder, [("yes", 1)]), make(model, encoder, [("yes", 1)], eta=1.0)
    assert float((plain - random).abs().max()) > 0.01
    assert torch.equal(make(model, encoder, [("yes", 1)], eta=1.0), random)
    assert torch.equal(make(model, encoder, [("yes", 1)]), plain)


def test_eta_one_is_ddpm(model: Text2Sign, encoder: TextEncoder) -> None:
    ddim = make(model, encoder, [("yes", 1)], eta=1.0, num_steps=T, guidance_scale=1.0)
    ddpm = make(model, encoder, [("yes", 1)], sampler="ddpm", num_steps=T, guidance_scale=1.0)
    assert torch.equal(ddim, ddpm)


def test_sampling_leaves_the_global_generator_alone(model: Text2Sign, encoder: TextEncoder) -> None:
    before = torch.get_rng_state()
    make(model, encoder, [("yes", 1)], eta=1.0)
    assert torch.equal(torch.get_rng_state(), before)


# ---- Assembly -------------------------------------------------------------------------------------------------------


def test_one_seed_builds_one_model_and_leaves_the_global_generator_alone(
    debug_config: Callable[..., Config], encoder: TextEncoder
) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = create_text2sign(debug_config(), encoder).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    again = create_text2sign(debug_config(), encoder).state_dict()
    other = create_text2sign(debug_config(SEED=7), encoder).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_model_follows_its_config(debug_config: Callable[..., Config], encoder: TextEncoder) -> None:
    config = debug_config(
        TIMESTEPS=20, NOISE_SCHEDULER="linear", NOISE_SHIFT=2.0, PREDICTION_TYPE="epsilon", LOSS_WEIGHTING="min_snr",
        MIN_SNR_GAMMA=3.0, STANDARDISE_TEXT=False, STANDARDISE_CLIPS=False,
    )  # fmt: skip
    model = create_text2sign(config, encoder)
    assert torch.equal(model.schedule.exact, NoiseSchedule("linear", 20, noise_shift=2.0).exact)
    assert (model.prediction_type, model.min_snr_gamma, model.clip_shape) == ("epsilon", 3.0, (3, 4, 16, 16))
    assert not model.text.enabled and not model.standardise_clips
    assert create_text2sign(debug_config(), encoder).min_snr_gamma is None
