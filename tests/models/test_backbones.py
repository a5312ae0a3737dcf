"""What is particular to vivit, vit3d, dit3d and unet3d; what they share is in test_architectures.py."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from config import ConfigError, make_config
from external.TinyFusion.dit import DiT
from models.architectures.dit3d import DiT3D
from models.architectures.unet3d import ATTENTION_SIDE, FactorisedAttention, ResidualBlock, UNet3D
from models.architectures.vit3d import ViT3D
from models.architectures.vivit import FactorisedBlock
from models.layers.positions import fitted_frames, fitted_positions
from models.layers.tubelets import TubeletShape
from tests.models.test_architectures import B, E, L, inputs, nudged

SHAPE = TubeletShape(clip=(3, 6, 16, 16), frames=2, size=4, width=64, depth=2)
OPTIONS = {"text_width": E, "num_steps": 50, "gradient_checkpointing": False}


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_dit3d_over_one_frame_without_text_is_the_image_dit() -> None:
    """An independent implementation: external/TinyFusion's DiT with the same weights."""
    shape = SHAPE._replace(clip=(3, 1, 16, 16), frames=1)
    model = nudged(DiT3D(shape, **OPTIONS))
    model.conditioning.text.set_amplitude(0.0)
    for attention in model.text_attention:
        nn.init.zeros_(attention.cross.proj.weight)
        nn.init.zeros_(attention.cross.proj.bias)
    dit = DiT(16, 4, 3, 64, depth=2, num_heads=1, num_classes=0, learn_sigma=False)
    dit.x_embedder.proj.weight.copy_(model.embedding.proj.weight[:, :, 0])
    dit.x_embedder.proj.bias.copy_(model.embedding.proj.bias)
    dit.pos_embed.copy_(fitted_positions(64, 4) + fitted_frames(1, 64))
    for ours, theirs in (
        (model.conditioning.t_embedder, dit.t_embedder),
        (model.blocks, dit.blocks),
        (model.output.final_layer, dit.final_layer),
    ):
        theirs.load_state_dict(ours.state_dict())
    _, _, text = inputs(make_config("debug"))
    x, t = randn(B, 3, 1, 16, 16), torch.tensor([0, 20, 49])
    torch.testing.assert_close(model(x, t, text)[:, :, 0], dit(x[:, :, 0], t * 20.0), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_vivit_s_space_stays_in_its_frame_and_its_time_at_its_place() -> None:
    block, x = nudged(FactorisedBlock(SHAPE)), randn(1, SHAPE.num_tokens, 64)
    perturbed = x.clone()
    perturbed[0, 16 + 5] += randn(64, seed=1)  # the second step of time, sixth place
    for function, touched in (
        (block._through_space, [16 + place for place in range(16)]),
        (block._through_time, [step * 16 + 5 for step in range(3)]),
    ):
        change = (function(perturbed) - function(x)).abs().amax(2)[0]  # (F' N,)
        assert change.gt(1e-5).nonzero()[:, 0].tolist() == touched


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_vit3d_hands_each_block_s_output_to_its_mirror_image(depth: int) -> None:
    model = nudged(ViT3D(SHAPE._replace(depth=depth), **OPTIONS))
    assert (len(model.down), len(model.middle), len(model.up)) == (depth // 2, depth % 2, depth // 2)
    handed: list[Tensor] = []
    received: list[Tensor] = []
    for block in model.down:
        block.register_forward_hook(lambda module, args, out: handed.append(out))
    for block in model.up:
        block.register_forward_hook(lambda module, args, out: received.append(args[1]))
    _, t, text = inputs(make_config("debug"))
    model(randn(B, *SHAPE.clip), t, text)
    assert len(handed) == len(received) == depth // 2
    assert all(torch.equal(a, b) for a, b in zip(handed, reversed(received), strict=True))


def unet(side: int, *, patch_size: int = 1, num_levels: int = 2) -> UNet3D:
    return UNet3D((3, 4, side, side), patch_size=patch_size, width=32, num_levels=num_levels, **OPTIONS)


def test_unet3d_attends_at_low_resolutions_only() -> None:
    model = unet(4 * ATTENTION_SIDE, num_levels=4)
    for stages in (model.down, model.up):
        assert [stages[i][-1].attention is not None for i in range(4)] == [False, False, True, True]
    assert all(stage.attention is not None for stage in model.middle)


@pytest.mark.parametrize(("patch_size", "num_levels"), [(1, 1), (2, 3), (4, 2)])
def test_unet3d_halves_and_doubles_with_any_patch_and_depth(patch_size: int, num_levels: int) -> None:
    _, t, text = inputs(make_config("debug"))
    model = nudged(unet(16, patch_size=patch_size, num_levels=num_levels))
    seen: list[tuple[int, ...]] = []
    model.middle[0].register_forward_hook(lambda module, args, out: seen.append(tuple(out.shape)))
    assert model(randn(B, 3, 4, 16, 16), t, text).shape == (B, 3, 4, 16, 16)
    side = 16 // patch_size // 2 ** (num_levels - 1)
    assert seen == [(B, 32 * 2 ** (num_levels - 1), 4, side, side)]


def test_unet3d_s_parts_are_the_identity_at_the_start() -> None:
    x = randn(2, 32, 4, 8, 8)
    assert torch.equal(ResidualBlock(32, 32)(x, randn(2, 256)), x)
    mask = torch.ones(2, L, dtype=torch.bool)
    assert torch.equal(FactorisedAttention(32, num_frames=4, side=8)(x, randn(2, L, 256), mask), x)


@torch.no_grad()
def test_unet3d_s_attention_keeps_places_and_frames_in_order() -> None:
    """Only its look at the text is left: it must come back exactly where it belongs."""
    layer = FactorisedAttention(32, num_frames=4, side=8)
    for parameter in layer.text.cross.parameters():
        parameter.copy_(randn(*parameter.shape, seed=2) * 0.3)
    x, tokens, mask = randn(2, 32, 4, 8, 8), randn(2, L, 256), torch.ones(2, L, dtype=torch.bool)
    perturbed = x.clone()
    perturbed[1, :, 2, 3, 5] += 1 + randn(32, seed=3)
    change = (layer(perturbed, tokens, mask) - layer(x, tokens, mask)).abs().amax(1)  # (B, F, H, W)
    assert change.gt(1e-5).nonzero().tolist() == [[1, 2, 3, 5]]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"IMAGE_SIZE": 40}, "IMAGE_SIZE=40 is no multiple of 16, px at the coarsest of UNET_LEVELS resolutions"),
        ({"UNET_WIDTH": 48}, "UNET_WIDTH=48 is no multiple of 32, the width of an attention head"),
    ],
)
def test_sizes_that_a_unet_cannot_halve_are_refused(overrides: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config("default", {"MODEL_ARCHITECTURE": "unet3d", **overrides})
