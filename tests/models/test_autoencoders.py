"""The contract of every autoencoder, and the one that is made of principal components."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from config import Config, ConfigError
from models.autoencoders.build import build_autoencoder
from models.autoencoders.contract import FRAMES_AT_ONCE
from models.autoencoders.pca import PatchComponents


def clips(number: int, *, num_frames: int = 3, rank: int = 192, seed: int = 0) -> Tensor:
    """(number, 3, F, 16, 24) whose patches lie in a space of ``rank`` dimensions around a mean."""
    draw = torch.Generator().manual_seed(seed)
    directions = torch.randn(rank, 192, generator=torch.Generator().manual_seed(9)) / 40
    weights = torch.randn(number, num_frames, 2, 3, rank, generator=draw)
    patches = (weights @ directions + 0.1).unflatten(4, (3, 8, 8))  # (B, F, rows, columns, 3, 8, 8)
    return patches.permute(0, 4, 1, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4)


def fitted(channels: int, video: Tensor) -> PatchComponents:
    found = PatchComponents(channels)
    found.fit([video[:2], video[2:]])
    return found


def test_as_many_components_as_the_patches_have_dimensions_lose_nothing() -> None:
    video = clips(4, rank=5)
    found = fitted(5, video)
    latents = found.encode(video)
    assert latents.shape == (4, 5, 3, 2, 3) and latents.dtype == torch.float32
    torch.testing.assert_close(found.decode(latents), video, atol=2e-5, rtol=0)


def test_latents_have_mean_zero_are_uncorrelated_and_together_of_deviation_one() -> None:
    video = clips(6)
    flat = fitted(7, video).encode(video).transpose(0, 1).flatten(1).double()
    torch.testing.assert_close(flat.mean(1), torch.zeros(7).double(), atol=1e-5, rtol=0)
    covariance = flat @ flat.T / flat.shape[1]
    torch.testing.assert_close(covariance, covariance.diag().diag(), atol=1e-4, rtol=0)
    assert float(covariance.diag().mean()) == pytest.approx(1.0, abs=1e-4)
    assert bool((covariance.diag().diff() <= 0).all())


def test_an_error_in_latents_is_in_proportion_to_that_in_pixels() -> None:
    found = fitted(5, clips(4))
    draw = torch.Generator().manual_seed(1)
    one, other = torch.randn(2, 1, 5, 3, 2, 3, generator=draw)
    pixels = (found.decode(one) - found.decode(other)).square().sum()
    torch.testing.assert_close(pixels, (one - other).square().sum() * found.scale**2, rtol=1e-4, atol=0)


def test_what_is_lost_is_the_variance_of_the_other_components() -> None:
    """As an independent decomposition has it (Eckart & Young 1936)."""
    video = clips(6)
    found = fitted(20, video)
    patches = video.unfold(3, 8, 8).unfold(4, 8, 8).permute(0, 2, 3, 4, 1, 5, 6).flatten(4).flatten(0, 3).double()
    singular = torch.linalg.svdvals(patches - patches.mean(0))
    wanted = float((singular[20:] ** 2).sum() / patches.numel())
    lost = float((found.decode(found.encode(video)) - video).square().mean())
    assert lost == pytest.approx(wanted, rel=1e-4)
    assert f"{10 * torch.tensor(4 / wanted).log10():.1f} dB" in found.fit([video])


def test_chunks_of_frames_change_nothing() -> None:
    video = clips(3, num_frames=FRAMES_AT_ONCE - 3)
    found = fitted(6, video)
    alone = torch.cat([found.encode(video[:, :, [f]]) for f in range(video.shape[2])], dim=2)
    torch.testing.assert_close(found.encode(video), alone, atol=1e-5, rtol=0)


def test_components_do_not_depend_on_how_clips_come_together_and_keep_their_signs() -> None:
    video = clips(4)
    one, other = fitted(8, video), PatchComponents(8)
    other.fit(video.split(1))
    torch.testing.assert_close(one.components, other.components, atol=1e-4, rtol=0)


def test_autocast_around_it_changes_nothing() -> None:
    video = clips(2)
    found = fitted(6, clips(4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(found.decode(found.encode(video)), found.decode(found.encode(video.clone())))
        low = found.encode(video)
    assert torch.equal(low, found.encode(video))


def test_the_setting_decides_the_shape_of_what_the_backbone_sees() -> None:
    config = Config(AUTOENCODER="pca:12", IMAGE_SIZE=256)
    assert config.INPUT_SHAPE == (12, 16, 32, 32) and config.CLIP_SHAPE == (3, 16, 256, 256)
    assert build_autoencoder(Config()) is None
    found = build_autoencoder(config)
    assert found is not None and (found.channels, found.factor) == (12, 8)


@pytest.mark.parametrize("value", ["pca:", "pca:0", "pca:193", "pca:x", "pca:-3"])
def test_a_number_of_components_that_there_cannot_be_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="wanted pca:K with K from 1 to 192"):
        Config(AUTOENCODER=value)


def test_a_size_that_cells_and_patches_do_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match="IMAGE_SIZE=72 is no multiple of 16, px, .* of 8 px, the cells of"):
        Config(AUTOENCODER="pca:12", IMAGE_SIZE=72)
    with pytest.raises(ConfigError, match="IMAGE_SIZE=36 is no multiple of 32, the TUBELET_SIZE"):
        Config(AUTOENCODER="pca:12", IMAGE_SIZE=36, MODEL_ARCHITECTURE="vivit")
