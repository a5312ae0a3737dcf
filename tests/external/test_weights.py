"""external/TinyFusion/weights.py: loading a file of the exact published layout, at a small width, from disk."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from external.TinyFusion.dit import DiT, parse_variant
from external.TinyFusion.weights import (
    WeightsError,
    latent_of_rgb,
    load_published,
    published_timesteps,
    read_published,
)
from models.architectures.tinyfusion import TinyFusionVideo
from models.text_features import TextFeatures
from schedulers.noise_schedulers import NoiseSchedule
from tests.published_files import Weights, closed_form_positions, published_layout, random_weights, write_published

SCHEDULE = NoiseSchedule("cosine", 50, noise_shift=12.0)  # the default config's
NULL_CLASS = 1000
CLASS_TABLE = "y_embedder.embedding_table.weight"
OUTER = ("x_embedder.proj.weight", "final_layer.linear.weight", "final_layer.linear.bias")
ADAPTED = {*OUTER, CLASS_TABLE, "t_embedder.mlp.2.bias"}  # on the published grid


@pytest.fixture(scope="module")
def published_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """14 blocks of width 64 on a 16 x 16 grid of patches of 2 px, 1,001 classes, learned variance; read only."""
    return write_published(tmp_path_factory.mktemp("published") / "w.pt", random_weights(14, 64))


@pytest.fixture
def published(published_file: Path) -> Weights:
    return read_published(published_file)


def small(**sizes: int | bool) -> dict[str, int | bool]:
    return {"input_size": 32, "patch_size": 2, "hidden_size": 64, "depth": 14, "num_heads": 4, **sizes}


def rgb_dit(**sizes: int | bool) -> DiT:
    return DiT(**small(in_channels=3, num_classes=0, learn_sigma=False) | sizes).eval()


def original_dit(published: Weights) -> DiT:
    """The unadapted model, loaded by torch alone."""
    dit = DiT(**small()).eval()
    dit.load_state_dict(published)
    return dit


def video(dit: DiT, *, num_frames: int) -> TinyFusionVideo:
    """The wrapper as a warm start leaves it, for the default config's schedule: new adapters, silent text."""
    torch.manual_seed(2)
    model = TinyFusionVideo(
        dit, num_frames=num_frames, text_width=8, adapter_width=32, frame_chunk_size=2, gradient_checkpointing=False,
        timesteps=published_timesteps(SCHEDULE.exact),
    )  # fmt: skip
    model.text.set_amplitude(0.0)
    return model


def text_features(num_clips: int) -> TextFeatures:
    mask = torch.ones(num_clips, 5, dtype=torch.bool)
    return TextFeatures(seeded(num_clips, 5, 8), mask, seeded(num_clips, 8))


def seeded(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


# ---- The layout -----------------------------------------------------------------------------------------------------


def test_the_layout_of_these_tests_is_the_published_one(published: Weights) -> None:
    sizes = [np.prod(shape) for shape in published_layout(14, 1152).values()]
    assert (len(sizes), sum(sizes)) == (152, 340_457_504)
    assert published.keys() == published_layout(14, 1152).keys() and len(published) == 152


# ---- Loading --------------------------------------------------------------------------------------------------------


def test_every_tensor_of_the_file_and_of_the_model_is_in_exactly_one_list(published: Weights) -> None:
    """The class table is adapted: its null row is in use, as the noise half of the final layer is."""
    dit = rgb_dit()
    report = load_published(dit, published)
    every = [*report.loaded, *report.adapted, *report.newly_initialised, *report.ignored]
    assert len(every) == len(set(every)) and set(every) == published.keys() | dit.state_dict().keys()
    assert set(report.adapted) == ADAPTED and report.newly_initialised == report.ignored == ()


def test_whatever_is_not_adapted_is_bit_identical_after_loading(published: Weights) -> None:
    dit = rgb_dit()
    report = load_published(dit, published)
    state = dit.state_dict()
    assert sum(name.startswith("blocks.") for name in report.loaded) == 14 * 10
    assert all(torch.equal(state[name], published[name]) for name in report.loaded)


@torch.no_grad()
def test_the_loaded_model_s_output_is_neither_zero_nor_constant(published: Weights) -> None:
    dit = rgb_dit()
    x, t = seeded(2, 3, 32, 32), torch.tensor([10.0, 900.0])
    assert dit(x, t).abs().max() == 0  # before
    load_published(dit, published)
    output = dit(x, t)
    assert output.std(dim=(1, 2, 3)).min() > 0.05 and output.std(dim=(2, 3)).min() > 0.05  # within every colour
    assert (output[0] - output[1]).abs().max() > 0.1


@torch.no_grad()
def test_the_rgb_model_is_the_published_unconditional_predictor_seen_through_the_channel_map(
    published: Weights,
) -> None:
    """rgb(x, t) = pinv(T) published(T x, t, null class)[noise half]."""
    original, dit = original_dit(published), rgb_dit()
    load_published(dit, published)
    x, t = seeded(2, 3, 32, 32), torch.tensor([10.0, 900.0])
    channel_map = latent_of_rgb(x)
    latent = torch.einsum("kc,bchw->bkhw", channel_map, x)
    inverse = torch.linalg.pinv(channel_map)
    wanted, of_a_class = (
        torch.einsum("ck,bkhw->bchw", inverse, original(latent, t, torch.full((2,), label))[:, :4])
        for label in (NULL_CLASS, 3)
    )
    torch.testing.assert_close(dit(x, t), wanted, atol=1e-5, rtol=1e-4)
    assert (of_a_class - wanted).abs().max() > 0.01  # so that the label is seen to matter


@torch.no_grad()
def test_the_video_model_with_silent_adapters_is_the_published_dit_on_every_frame(published: Weights) -> None:
    """4 channels, 32 px: nothing but the null class and the missing variance is adapted."""
    original = original_dit(published)
    dit = DiT(**small(num_classes=0, learn_sigma=False))
    assert set(load_published(dit, published).adapted) == ADAPTED - {"x_embedder.proj.weight"}
    model, x_t, t = video(dit, num_frames=3), seeded(2, 4, 3, 32, 32), torch.tensor([4, 49])
    prediction, labels = model(x_t, t, text_features(2)), torch.full((2,), NULL_CLASS)
    for frame in range(3):
        wanted = original(x_t[:, :, frame], published_timesteps(SCHEDULE.exact)[t], labels)[:, :4]
        assert wanted.std() > 0.1
        torch.testing.assert_close(prediction[:, :, frame], wanted, atol=1e-5, rtol=0)


def test_after_loading_gradients_reach_every_trainable_tensor_of_the_video_model(published: Weights) -> None:
    """All but the adapters' inner tensors and the text's, which wait two steps for what starts at zero behind them."""
    dit = rgb_dit(input_size=16)
    load_published(dit, published)
    model, x_t, text = video(dit, num_frames=2), seeded(2, 3, 2, 16, 16), text_features(2)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    still = []
    for _ in range(3):
        optimiser.zero_grad()
        (model(x_t, torch.tensor([10, 40]), text) - x_t).square().mean().backward()
        still.append({name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()})
        optimiser.step()
    assert still[0] and all(name.startswith(("adapters.", "temporal_convolution.", "text.")) for name in still[0])
    assert still[2] == set()


def test_the_channel_map_keeps_unit_variance_per_channel_and_the_signal_to_noise_ratio() -> None:
    channel_map = latent_of_rgb(torch.zeros((), dtype=torch.float64))
    covariance = channel_map @ channel_map.T  # of T x for white noise x
    torch.testing.assert_close(covariance.diagonal(), torch.ones(4, dtype=torch.float64))
    gram = channel_map.T @ channel_map
    torch.testing.assert_close(gram, torch.eye(3, dtype=torch.float64) * 4 / 3)  # same gain for every colour


@torch.no_grad()
def test_a_model_of_the_published_shape_loads_everything_bit_for_bit(published: Weights) -> None:
    dit = DiT(**small())
    report = load_published(dit, published)
    assert len(report.loaded) == len(published) and not (report.adapted or report.ignored)
    assert all(torch.equal(value, published[name]) for name, value in dit.state_dict().items())


@torch.no_grad()
def test_a_latent_model_without_variance_is_the_noise_half_of_the_published(published: Weights) -> None:
    original, dit = original_dit(published), DiT(**small(learn_sigma=False)).eval()
    assert set(load_published(dit, published).adapted) == {"final_layer.linear.weight", "final_layer.linear.bias"}
    x, t, y = seeded(1, 4, 32, 32), torch.tensor([300.0]), torch.tensor([3])
    torch.testing.assert_close(dit(x, t, y), original(x, t, y)[:, :4], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_positions_equal_the_closed_form_and_those_of_another_grid_are_recomputed(published: Weights) -> None:
    for size, grid, more in ((32, 16, set()), (64, 32, {"pos_embed"}), (16, 8, {"pos_embed"})):
        dit = rgb_dit(input_size=size)
        assert set(load_published(dit, published).adapted) == ADAPTED | more
        torch.testing.assert_close(dit.pos_embed, closed_form_positions(64, grid), atol=1e-6, rtol=0)
        assert dit(seeded(1, 3, size, size), torch.tensor([500])).std() > 0.05


def test_a_file_without_a_class_table_is_unconditional_already(published: Weights) -> None:
    dit = rgb_dit()
    report = load_published(dit, changed(published, CLASS_TABLE, None))
    assert set(report.adapted) == set(OUTER) and report.ignored == ()
    assert torch.equal(dit.t_embedder.mlp[2].bias, published["t_embedder.mlp.2.bias"])


def test_the_report_is_four_lines_with_the_short_lists_written_out(published: Weights) -> None:
    report = load_published(rgb_dit(), published)
    loaded, adapted, new, ignored = str(report).splitlines()
    assert loaded == "loaded 147"
    assert adapted.startswith("adapted 5: ") and all(name in adapted for name in ADAPTED)
    assert (new, ignored) == ("newly initialised 0", "ignored 0")


def test_half_precision_weights_load_into_a_float32_model_and_are_added_in_float32(published: Weights) -> None:
    dit = rgb_dit()
    load_published(dit, {name: value.half() for name, value in published.items()})
    assert dit.x_embedder.proj.weight.dtype == torch.float32
    wanted = published["blocks.1.mlp.fc1.weight"].half().float()
    assert torch.equal(dit.get_parameter("blocks.1.mlp.fc1.weight"), wanted)
    bias, null = published["t_embedder.mlp.2.bias"].half().float(), published[CLASS_TABLE][NULL_CLASS].half().float()
    assert torch.equal(dit.t_embedder.mlp[2].bias, bias + null)


# ---- What does not fit ----------------------------------------------------------------------------------------------


def changed(weights: Weights, name: str, value: Tensor | None) -> Weights:
    rest = {key: old for key, old in weights.items() if key != name}
    return rest if value is None else rest | {name: value}


NAN = torch.full((64,), math.nan)
WRONG: dict[str, tuple[str, Tensor | None, str]] = {
    "an unknown name": (
        "blocks.0.extra.bias",
        torch.ones(64),
        r"holds blocks\.0\.extra\.bias, which the model has not",
    ),
    "a missing name": ("blocks.1.mlp.fc2.bias", None, r"lacks blocks\.1\.mlp\.fc2\.bias \(64,\)"),
    "a wrong shape": ("blocks.1.mlp.fc2.bias", torch.ones(65), r"fc2\.bias \(65,\), the model wants \(64,\)"),
    "five channels": ("x_embedder.proj.weight", torch.ones(64, 5, 2, 2), r"\(64, 5, 2, 2\).*wants \(64, 3, 2, 2\)"),
    "an odd final layer": ("final_layer.linear.weight", torch.ones(33, 64), r"\(33, 64\).*wants \(12, 64\)"),
    "a final layer of one axis": ("final_layer.linear.weight", torch.ones(32), r"\(32,\).*wants \(12, 64\)"),
    "a grid that is no square": ("pos_embed", torch.ones(1, 255, 64), r"\(1, 255, 64\).*wants \(1, 256, 64\)"),
    "a value that is no number": ("blocks.1.mlp.fc2.bias", NAN, r"fc2\.bias.*finite"),
    "integers": ("blocks.1.mlp.fc2.bias", torch.ones(64, dtype=torch.int64), r"fc2\.bias.*floating-point"),
    "a value beyond float32": (
        "blocks.1.mlp.fc2.bias",
        torch.full((64,), 1e300, dtype=torch.float64),
        r"fc2\.bias.*finite",
    ),
    "classes without a null class": (CLASS_TABLE, torch.ones(1000, 64), r"\(1000, 64\).*wants \(1001, 64\)"),
    "classes of another width": (CLASS_TABLE, torch.ones(1001, 65), r"\(1001, 65\).*wants \(1001, 64\)"),
    "a class that is no number": (CLASS_TABLE, NAN.expand(1001, 64), r"embedding_table\.weight.*finite"),
    "integer classes": (CLASS_TABLE, torch.ones(1001, 64, dtype=torch.int64), r"embedding_table.*floating-point"),
    "a second class tensor": (
        "y_embedder.bias",
        torch.ones(64),
        r"holds y_embedder\.bias, which the model has not",
    ),
    "a bias of one number": ("t_embedder.mlp.2.bias", torch.ones(1), r"\(1,\), the model wants \(64,\)"),
    "no patch embedding": ("x_embedder.proj.weight", None, r"no 4-D x_embedder\.proj\.weight"),
}


@pytest.mark.parametrize(("name", "value", "message"), WRONG.values(), ids=WRONG.keys())
def test_weights_that_do_not_fit_name_the_tensor_and_leave_the_model_as_it_was(
    name: str, value: Tensor | None, message: str, published: Weights
) -> None:
    dit = rgb_dit()
    before = {key: old.clone() for key, old in dit.state_dict().items()}
    with pytest.raises(WeightsError, match=message) as error:
        load_published(dit, changed(published, name, value), source="some.pt")
    assert str(error.value).startswith("some.pt ") and "\n" not in str(error.value)
    assert all(torch.equal(old, before[key]) for key, old in dit.state_dict().items())


def meta_weights(variant: str) -> Weights:
    shape = parse_variant(variant)
    layout = published_layout(shape.depth, shape.hidden_size, patch=shape.patch_size)
    return {name: torch.empty(size, device="meta") for name, size in layout.items()}


@pytest.mark.parametrize(
    ("ours", "message"),
    [
        ("DiT-D7/2", "14 blocks of width 1152 on patches of 2 px; the model has 7 blocks"),
        ("DiT-D14/4", "patches of 2 px; the model has 14 blocks of width 1152 on patches of 4 px"),
        ("DiT-S/2", "the model has 12 blocks of width 384"),
    ],
)
def test_another_variant_s_weights_say_so_and_name_the_one_that_fits(ours: str, message: str) -> None:
    shape = parse_variant(ours)
    with torch.device("meta"):
        dit = DiT(32, shape.patch_size, 3, shape.hidden_size, shape.depth, shape.num_heads, num_classes=0)
    with pytest.raises(WeightsError, match=f"{message}.*Set TINYFUSION_VARIANT=DiT-D14/2"):
        load_published(dit, meta_weights("DiT-D14/2"))


def test_variances_of_colours_have_no_rule_and_are_an_error(published: Weights) -> None:
    with pytest.raises(WeightsError, match=r"final_layer\.linear\.(weight|bias)"):
        load_published(rgb_dit(learn_sigma=True), published)
