"""methods/cost.py and benchmarks/flops.py: operations against a count by hand, the peak, and every graph."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from benchmarks.flops import training_flops
from config import Config
from diffusion.text2sign import ARCHITECTURES, Text2Sign, create_text2sign
from methods.cost import matmul_peak, small_copy
from models.text_encoder import TextEncoder
from models.text_features import TextFeatures
from schedulers.noise_schedulers import NoiseSchedule

SHAPE = (3, 4, 8, 8)
SIZE, HIDDEN = 3 * 4 * 8 * 8, 10


class TwoLayers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(SIZE, HIDDEN), nn.Linear(HIDDEN, SIZE)

    def forward(self, x_t: Tensor, t: Tensor, text: TextFeatures) -> Tensor:
        return self.second(self.first(x_t.flatten(1))).view_as(x_t)


def around(backbone: nn.Module) -> Text2Sign:
    return Text2Sign(
        backbone, NoiseSchedule("cosine", 10), prediction_type="sample", clip_shape=SHAPE, text_width=6,
        standardise_clips=False, standardise_text=False,
    )  # fmt: skip


@pytest.mark.parametrize("num_clips", [1, 3])
def test_two_linear_layers_cost_what_a_count_by_hand_says(num_clips: int) -> None:
    """Two products forward; backward two for the weights and one for the input of the second layer."""
    product = 2 * SIZE * HIDDEN
    backbone = TwoLayers()
    assert training_flops(around(backbone), num_clips=num_clips, num_tokens=3) == 5 * product
    backbone.first.requires_grad_(False)
    assert training_flops(around(backbone), num_clips=num_clips, num_tokens=3) == 3 * product
    backbone.requires_grad_(False)
    assert training_flops(around(backbone), num_clips=num_clips, num_tokens=3) == 2 * product
    assert all(p.grad is None and p.device.type == "cpu" for p in backbone.parameters())


@pytest.mark.filterwarnings("ignore")  # of the tracer
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_is_counted_and_has_a_graph(
    debug_config: Callable[..., Config], encoder: TextEncoder, architecture: str
) -> None:
    config = debug_config(MODEL_ARCHITECTURE=architecture, UNET_LEVELS=1)
    model = create_text2sign(config, encoder)
    one, two = (training_flops(model, num_clips=n, num_tokens=4) for n in (1, 2))
    assert one == pytest.approx(two, rel=0.05) and one > 1e6
    module, inputs = small_copy(config, encoder)
    with torch.no_grad():
        assert module(*inputs).shape == inputs[0].shape
        torch.jit.trace(module, inputs, strict=False, check_trace=False)


def test_the_peak_is_measured_in_a_moment() -> None:
    assert 1e8 < matmul_peak(torch.device("cpu"), None) < 1e15
