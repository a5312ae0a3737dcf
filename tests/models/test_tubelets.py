"""models/layers/tubelets.py: where every pixel goes, written out by hand."""

from __future__ import annotations

import pytest
import torch

from config import make_config
from models.layers.positions import fitted_frames, fitted_positions
from models.layers.tubelets import TubeletEmbedding, TubeletOutput, TubeletShape, clip_of_tubelets

SHAPE = TubeletShape(clip=(3, 6, 16, 16), frames=2, size=4, width=64, depth=1)  # 3 x 4 x 4 tubelets of 96 numbers


def clip(num_clips: int = 2) -> torch.Tensor:
    return torch.randn(num_clips, *SHAPE.clip, generator=torch.Generator().manual_seed(0))


def boxes_of(video: torch.Tensor) -> torch.Tensor:
    """(B, F' N, C, frames, size, size), cut out one by one."""
    cut = [
        video[:, :, 2 * f : 2 * f + 2, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4]
        for f in range(3)
        for y in range(4)
        for x in range(4)
    ]
    return torch.stack(cut, dim=1)


def test_a_clip_is_a_grid_of_tubelets() -> None:
    shape = TubeletShape(clip=(3, 16, 64, 64), frames=4, size=8, width=192, depth=6)
    assert (shape.grid, shape.num_tokens, shape.num_heads) == ((4, 8), 256, 3)


def test_an_embedding_is_a_linear_map_of_each_box_plus_its_place() -> None:
    embedding, video = TubeletEmbedding(SHAPE), clip()
    weight = embedding.proj.weight.flatten(1)  # (D, C * frames * size * size)
    place = torch.stack([w + p for w in fitted_frames(3, 64) for p in fitted_positions(64, 4)])  # frame by frame
    wanted = boxes_of(video).flatten(2) @ weight.T + embedding.proj.bias + place
    torch.testing.assert_close(embedding(video), wanted, atol=1e-5, rtol=1e-5)


def test_places_are_all_different() -> None:
    place = TubeletEmbedding(SHAPE).place
    assert float(torch.pdist(place).min()) > 1.0


def test_tokens_return_every_pixel_to_its_place() -> None:
    video = clip()
    tokens = boxes_of(video).permute(0, 1, 4, 5, 3, 2).flatten(2)  # row, column, frame, channel
    assert torch.equal(clip_of_tubelets(tokens, SHAPE), video)


def test_a_fresh_output_is_zero_and_learns_at_once() -> None:
    output = TubeletOutput(SHAPE)
    pixels = output(torch.randn(2, SHAPE.num_tokens, 64), torch.randn(2, 64))
    assert pixels.shape == (2, *SHAPE.clip) and not pixels.any()
    (pixels - clip()).square().mean().backward()
    assert bool(output.final_layer.linear.weight.grad.any())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"TUBELET_FRAMES": 3}, "NUM_FRAMES=16 is no multiple of 3, the TUBELET_FRAMES"),
        ({"TUBELET_SIZE": 7}, "IMAGE_SIZE=64 is no multiple of 7, the TUBELET_SIZE"),
        ({"TRANSFORMER_WIDTH": 100}, "TRANSFORMER_WIDTH=100 is no multiple of 64, the width of an attention head"),
    ],
)
def test_a_clip_that_is_not_whole_tubelets_is_refused(overrides: dict[str, int], message: str) -> None:
    from config import ConfigError

    with pytest.raises(ConfigError, match=message):
        make_config("default", {"MODEL_ARCHITECTURE": "vivit", **overrides})
    make_config("default", overrides)  # TinyFusion does not read it
