"""The contract of every backbone in ARCHITECTURES: registering one is all it takes to be tested here."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from config import Architecture, Config, make_config
from diffusion.text2sign import ARCHITECTURES
from external.TinyFusion.weights import published_timesteps
from models import architectures
from models.text_features import TextFeatures
from schedulers.noise_schedulers import NoiseSchedule

B, L, E = 3, 6, 24  # clips, text tokens, width of the text features
NAMES = sorted(ARCHITECTURES)
SCHEDULE = NoiseSchedule("cosine", 50)


def debug(name: str, **overrides: object) -> Config:
    return make_config("debug", {"MODEL_ARCHITECTURE": name, "NUM_FRAMES": 6, **overrides})


def build(config: Config) -> nn.Module:
    torch.manual_seed(0)
    return ARCHITECTURES[config.MODEL_ARCHITECTURE].build(config, text_width=E, alphas_cumprod=SCHEDULE.exact)


def nudged(model: nn.Module) -> nn.Module:
    """Every parameter a little random, so that nothing is switched off by an initial zero."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.05)
    return model


def inputs(config: Config, num_clips: int = B) -> tuple[Tensor, Tensor, TextFeatures]:
    draw = torch.Generator().manual_seed(2)
    x_t = torch.randn(num_clips, *config.INPUT_SHAPE, generator=draw)
    mask = torch.arange(L)[None] < torch.tensor([4, 6, 2])[:num_clips, None]
    tokens = torch.randn(num_clips, L, E, generator=draw) * mask[..., None]
    return (
        x_t,
        torch.tensor([0, 20, 49])[:num_clips],
        TextFeatures(tokens, mask, torch.randn(num_clips, E, generator=draw)),
    )


def largest_change(a: Tensor, b: Tensor) -> list[float]:
    """Of each clip."""
    return (a - b).abs().flatten(1).amax(1).tolist()


def forgotten(files: set[str], registered: set[str], words: set[str]) -> list[str]:
    """What is still to be written for each architecture that exists somewhere: a file, a line, a word."""
    places = {
        "a file models/architectures/{}.py": files,
        "a line in ARCHITECTURES (diffusion/text2sign.py) for {}": registered,
        "the word {} in Architecture (config.py)": words,
    }
    every = sorted(set.union(*places.values()))
    return [place.format(name) for name in every for place, known in places.items() if name not in known]


def test_every_architecture_has_its_file_its_line_and_its_word() -> None:
    files = {path.stem for path in Path(architectures.__file__).parent.glob("*.py")} - {"__init__"}
    assert not forgotten(files, set(ARCHITECTURES), set(get_args(Architecture)))
    for name, entry in ARCHITECTURES.items():
        assert importlib.import_module(f"models.architectures.{name}").ARCHITECTURE is entry


def test_a_sixth_architecture_is_told_what_was_forgotten() -> None:
    five, six = set(NAMES), {*NAMES, "mamba"}
    assert forgotten(six, five, five) == [
        "a line in ARCHITECTURES (diffusion/text2sign.py) for mamba",
        "the word mamba in Architecture (config.py)",
    ]
    assert forgotten(five, six, six) == ["a file models/architectures/mamba.py"]
    assert forgotten(six, six, six) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_prediction_is_shaped_like_the_clip(name: str) -> None:
    config = debug(name)
    model, (x_t, t, text) = nudged(build(config)), inputs(config)
    prediction = model(x_t, t, text)
    assert prediction.shape == x_t.shape and prediction.dtype == torch.float32
    assert bool(prediction.isfinite().all()) and float(prediction.detach().std()) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_of_the_configured_size_is_all_it_takes(name: str) -> None:
    config = debug(name, NUM_FRAMES=2, IMAGE_SIZE=32)
    model, (x_t, t, text) = build(config), inputs(config, 1)
    assert model(x_t, t, text).shape == (1, 3, 2, 32, 32)


@pytest.mark.parametrize("name", NAMES)
def test_the_prediction_depends_on_tokens_alone_on_pooled_alone_and_on_the_timestep(name: str) -> None:
    config = debug(name)
    model, (x_t, t, text) = nudged(build(config)), inputs(config)
    with torch.no_grad():
        usual = model(x_t, t, text)
        other_tokens = TextFeatures(text.tokens.flip(2), text.mask, text.pooled)
        other_pooled = TextFeatures(text.tokens, text.mask, text.pooled.flip(1))
        assert min(largest_change(model(x_t, t, other_tokens), usual)) > 1e-4
        assert min(largest_change(model(x_t, t, other_pooled), usual)) > 1e-4
        assert min(largest_change(model(x_t, t.flip(0) + torch.tensor([0, 5, 0]), text), usual)) > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_padding_is_ignored(name: str) -> None:
    config = debug(name)
    model, (x_t, t, text) = nudged(build(config)), inputs(config)
    noise = 100 * torch.randn(text.tokens.shape, generator=torch.Generator().manual_seed(9))
    filled = TextFeatures(torch.where(text.mask[..., None], text.tokens, noise), text.mask, text.pooled)
    with torch.no_grad():
        torch.testing.assert_close(model(x_t, t, filled), model(x_t, t, text), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_does_not_depend_on_its_batch(name: str) -> None:
    config = debug(name)
    model, (x_t, t, text) = nudged(build(config)).eval(), inputs(config)
    with torch.no_grad():
        together = model(x_t, t, text)
        for i in range(B):
            alone = model(x_t[[i]], t[[i]], text[[i]])
            torch.testing.assert_close(alone, together[[i]], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_every_frame_reaches_every_other(name: str) -> None:
    config = debug(name)
    model, (x_t, t, text) = nudged(build(config)), inputs(config)
    perturbed = x_t.clone()
    perturbed[:, :, 0] += 1
    with torch.no_grad():
        change = (model(perturbed, t, text) - model(x_t, t, text)).abs().amax((1, 3, 4))  # (B, F)
    assert float(change.min()) > 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_trainable_tensor(name: str) -> None:
    config = debug(name)
    model, (x_t, t, text) = nudged(build(config)), inputs(config)
    model(x_t, t, text).square().mean().backward()
    silent = [n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    # A key's bias adds the same to all scores of a query, so softmax cancels it.
    assert [n for n in silent if not n.endswith(("qkv.bias", "kv.bias"))] == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chunk", [1, 2, 4, 5, 16])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_chunks_and_checkpointing_change_neither_output_nor_gradients(
    name: str, chunk: int, checkpointing: bool
) -> None:
    results = []
    for settings in ((5, False), (chunk, checkpointing)):
        config = debug(name, TINYFUSION_FRAME_CHUNK_SIZE=settings[0], GRADIENT_CHECKPOINTING=settings[1])
        model, (x_t, t, text) = nudged(build(config)), inputs(config)
        x_t.requires_grad_()
        prediction = model(x_t, t, text)
        prediction.square().mean().backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        results.append({"prediction": prediction.detach(), "x_t": x_t.grad, **gradients})
    assert results[0].keys() == results[1].keys()
    for key, wanted in results[0].items():
        torch.testing.assert_close(results[1][key], wanted, atol=2e-6, rtol=2e-5, msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_builds_one_model(name: str) -> None:
    first, second = build(debug(name)).state_dict(), build(debug(name)).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", NAMES)
def test_under_autocast_the_prediction_stays_close(name: str) -> None:
    config = debug(name)
    model, (x_t, t, text) = nudged(build(config)), inputs(config)
    with torch.no_grad():
        exact = model(x_t, t, text)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(x_t, t, text).float()
    assert float((rough - exact).norm() / exact.norm()) < 0.05


# ---- TinyFusion -----------------------------------------------------------------------------------------------------


def test_tinyfusion_with_silent_adapters_is_the_image_dit_on_every_frame() -> None:
    config = debug("tinyfusion", TINYFUSION_FRAME_CHUNK_SIZE=2)
    model, (x_t, t, text) = nudged(build(config)), inputs(config)
    model.text.set_amplitude(0.0)
    for layer in (model.temporal_convolution.up, *(adapter.up for adapter in model.adapters)):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    published = published_timesteps(SCHEDULE.exact)[t]
    with torch.no_grad():
        prediction = model(x_t, t, text)
        for frame in range(config.NUM_FRAMES):
            torch.testing.assert_close(
                prediction[:, :, frame], model.dit(x_t[:, :, frame], published), atol=1e-5, rtol=1e-5
            )


def test_tinyfusion_gives_its_timesteps_to_the_dit_at_equal_noise() -> None:
    """Built for a shifted schedule, the same t is noisier and lands later on the published scale."""
    config = debug("tinyfusion")
    shifted = NoiseSchedule("cosine", 50, noise_shift=12.0)
    later = ARCHITECTURES["tinyfusion"].build(config, text_width=E, alphas_cumprod=shifted.exact)
    assert bool((later.timesteps[:-1] > build(config).timesteps[:-1]).all())
    assert later.timesteps.shape == (50,) and float(later.timesteps.max()) <= 999


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_model_predicts_zero(name: str) -> None:
    """A zero output layer: the untrained model's first prediction is the mean of its targets, not noise."""
    config = debug(name)
    assert not build(config)(*inputs(config)).any()
