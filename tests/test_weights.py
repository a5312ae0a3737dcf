"""external/TinyFusion/weights.py with files in the exact published layout, at a small width."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from external.TinyFusion.dit import DiT, parse_variant, sincos_positions
from external.TinyFusion.weights import (
    WeightsError,
    latent_of_rgb,
    load_published,
    published_timesteps,
    read_published,
)

Shape = tuple[int, ...]
Weights = dict[str, Tensor]


def published_layout(depth: int, d: int, *, patch: int = 2, grid: int = 16) -> dict[str, Shape]:
    """Names and shapes of a published file, written down apart from our model."""
    shapes: dict[str, Shape] = {"pos_embed": (1, grid * grid, d), "x_embedder.proj.weight": (d, 4, patch, patch)}
    shapes |= {"y_embedder.embedding_table.weight": (1001, d), "x_embedder.proj.bias": (d,)}
    linears = {"t_embedder.mlp.0": (d, 256), "t_embedder.mlp.2": (d, d)}
    for i in range(depth):
        linears |= {f"blocks.{i}.attn.qkv": (3 * d, d), f"blocks.{i}.attn.proj": (d, d)}
        linears |= {f"blocks.{i}.mlp.fc1": (4 * d, d), f"blocks.{i}.mlp.fc2": (d, 4 * d)}
        linears |= {f"blocks.{i}.adaLN_modulation.1": (6 * d, d)}
    linears |= {"final_layer.linear": (patch * patch * 8, d), "final_layer.adaLN_modulation.1": (2 * d, d)}
    for name, shape in linears.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


@pytest.fixture
def published() -> Weights:
    """Random weights, 2 blocks of width 64, a 16 x 16 grid of patches of 2 px, 1000 classes, learned variance."""
    generator = torch.Generator().manual_seed(0)
    layout = published_layout(2, 64)
    weights = {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in layout.items()}
    return weights | {"pos_embed": sincos_positions(64, 16).unsqueeze(0)}


def rgb_dit(**sizes: int | bool) -> DiT:
    return DiT(**{**small(), "in_channels": 3, "num_classes": 0, "learn_sigma": False, **sizes}).eval()


def seeded(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def small() -> dict[str, int | bool]:
    return {"input_size": 32, "patch_size": 2, "hidden_size": 64, "depth": 2, "num_heads": 4}


ADAPTED = ("x_embedder.proj.weight", "final_layer.linear.weight", "final_layer.linear.bias")


# ---- Reading --------------------------------------------------------------------------------------------------------


def test_the_layout_of_these_tests_is_the_published_one() -> None:
    sizes = [np.prod(shape) for shape in published_layout(14, 1152).values()]
    assert (len(sizes), sum(sizes)) == (152, 340_457_504)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"ema": weights},
        lambda weights: {"model": weights},
        lambda weights: {
            "model": {"other": torch.zeros(1)},
            "ema": weights,
            "opt": {},
            "args": argparse.Namespace(lr=1),
        },
        lambda weights: {"model": {f"module.{name}": value for name, value in weights.items()}},
    ],
    ids=["bare", "ema", "model", "ema before model, with a command line", "module prefix"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_every_published_wrapping_reads_alike(
    wrap: Callable[[Weights], object], zipped: bool, published: Weights, tmp_path: Path
) -> None:
    torch.save(wrap(published), tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    weights = read_published(tmp_path / "w.pt")
    assert weights.keys() == published.keys()
    assert all(torch.equal(weights[name], published[name]) for name in published)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "executed"


@dataclass
class Bomb:
    """Touches ``marker`` when it is unpickled."""

    marker: Path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return (_touch, (str(self.marker),))


def _touch(path: str) -> None:
    Path(path).touch()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_code_is_refused_and_runs_nothing(zipped: bool, tmp_path: Path, marker: Path) -> None:
    path = tmp_path / "bomb.pt"
    torch.save({"ema": Bomb(marker)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="bomb.pt"):
        read_published(path)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # the bomb was live


def test_a_bare_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path, marker: Path) -> None:
    (tmp_path / "bomb.pt").write_bytes(pickle.dumps(Bomb(marker), protocol=2))
    with pytest.raises(WeightsError, match="bomb.pt"):
        read_published(tmp_path / "bomb.pt")
    assert not marker.exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_file_is_one_clear_line(share: float, published: Weights, tmp_path: Path) -> None:
    torch.save(published, tmp_path / "whole.pt")
    data = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(data[: int(share * len(data))])
    with pytest.raises(WeightsError, match=r"cut\.pt \([\d,]+ bytes\) is truncated or foreign; .* Download") as error:
        read_published(tmp_path / "cut.pt")
    assert "\n" not in str(error.value)


def write_npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.ones(3))


FOREIGN: dict[str, Callable[[Path], object]] = {
    "a web page": lambda path: path.write_text("<!DOCTYPE html><title>Not found</title>"),
    "a picture": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64)),
    "an archive of arrays": write_npz,
    "a list": lambda path: torch.save([torch.ones(2)], path),
    "a tensor": lambda path: torch.save(torch.ones(2), path),
    "an empty table": lambda path: torch.save({}, path),
    "a table of numbers": lambda path: torch.save({"ema": {"a": 1}}, path),
    "a whole module": lambda path: torch.save(torch.nn.Linear(2, 2), path),
    "one name twice": lambda path: torch.save({"a": torch.ones(1), "module.a": torch.ones(1)}, path),
    "a folder": lambda path: path.mkdir(),
    "nothing": lambda path: None,
}


@pytest.mark.parametrize("write", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_file_is_one_clear_line_that_names_it(write: Callable[[Path], object], tmp_path: Path) -> None:
    write(tmp_path / "foreign.pt")
    with pytest.raises(WeightsError, match="foreign.pt.*wanted") as error:
        read_published(tmp_path / "foreign.pt")
    assert "\n" not in str(error.value)


# ---- Loading --------------------------------------------------------------------------------------------------------


def test_every_tensor_of_the_file_and_of_the_model_is_in_exactly_one_list(published: Weights) -> None:
    dit = rgb_dit()
    report = load_published(dit, published)
    every = [*report.loaded, *report.adapted, *report.newly_initialised, *report.ignored]
    assert len(every) == len(set(every)) and set(every) == published.keys() | dit.state_dict().keys()
    assert set(report.adapted) == set(ADAPTED) and report.newly_initialised == ()
    assert report.ignored == ("y_embedder.embedding_table.weight",)


def test_whatever_is_not_adapted_is_bit_identical_after_loading(published: Weights) -> None:
    dit = rgb_dit()
    report = load_published(dit, published)
    state = dit.state_dict()
    assert sum(name.startswith("blocks.") for name in report.loaded) == 20
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
def test_the_rgb_model_is_the_published_noise_predictor_seen_through_the_channel_map(published: Weights) -> None:
    """rgb(x, t) = pinv(T) published(T x, t, y)[noise half], where y's row of the dropped class table is zero."""
    published["y_embedder.embedding_table.weight"][5] = 0
    original = DiT(**small()).eval()
    original.load_state_dict(published)
    dit = rgb_dit()
    load_published(dit, published)
    x, t = seeded(2, 3, 32, 32), torch.tensor([10.0, 900.0])
    channel_map = latent_of_rgb(x)
    latent = torch.einsum("kc,bchw->bkhw", channel_map, x)
    noise = original(latent, t, torch.tensor([5, 5]))[:, :4]
    wanted = torch.einsum("ck,bkhw->bchw", torch.linalg.pinv(channel_map), noise)
    torch.testing.assert_close(dit(x, t), wanted, atol=1e-5, rtol=1e-4)


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
    original, dit = DiT(**small()).eval(), DiT(**small(), learn_sigma=False).eval()
    original.load_state_dict(published)
    assert set(load_published(dit, published).adapted) == {"final_layer.linear.weight", "final_layer.linear.bias"}
    x, t, y = seeded(1, 4, 32, 32), torch.tensor([300.0]), torch.tensor([3])
    torch.testing.assert_close(dit(x, t, y), original(x, t, y)[:, :4], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_positions_of_another_grid_are_recomputed_and_reported_as_adapted(published: Weights) -> None:
    dit = rgb_dit(input_size=64)
    assert set(load_published(dit, published).adapted) == {*ADAPTED, "pos_embed"}
    assert torch.equal(dit.pos_embed, sincos_positions(64, 32).unsqueeze(0))
    assert dit(seeded(1, 3, 64, 64), torch.tensor([500])).std() > 0.05


def test_the_report_is_four_lines_with_the_short_lists_written_out(published: Weights) -> None:
    report = load_published(rgb_dit(), published)
    loaded, adapted, new, ignored = str(report).splitlines()
    assert loaded == "loaded 28"
    assert adapted.startswith("adapted 3: ") and all(name in adapted for name in ADAPTED)
    assert (new, ignored) == ("newly initialised 0", "ignored 1: y_embedder.embedding_table.weight")


def test_half_precision_weights_load_into_a_float32_model(published: Weights) -> None:
    dit = rgb_dit()
    load_published(dit, {name: value.half() for name, value in published.items()})
    assert dit.x_embedder.proj.weight.dtype == torch.float32
    wanted = published["blocks.1.mlp.fc1.weight"].half().float()
    assert torch.equal(dit.get_parameter("blocks.1.mlp.fc1.weight"), wanted)


# ---- What does not fit ----------------------------------------------------------------------------------------------


def changed(weights: Weights, name: str, value: Tensor | None) -> Weights:
    rest = {key: old for key, old in weights.items() if key != name}
    return rest if value is None else rest | {name: value}


NAN = torch.full((64,), float("nan"))
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
        ("DiT-D7/2", "14 blocks of width 1152 on patches of 2 px; TINYFUSION_VARIANT=DiT-D7/2 has 7 blocks"),
        ("DiT-D14/4", "patches of 2 px; TINYFUSION_VARIANT=DiT-D14/4 has 14 blocks of width 1152 on patches of 4 px"),
        ("DiT-S/2", "TINYFUSION_VARIANT=DiT-S/2 has 12 blocks of width 384"),
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


# ---- Timesteps ------------------------------------------------------------------------------------------------------


def linear_alphas(num_timesteps: int = 1000) -> Tensor:
    return torch.from_numpy(np.cumprod(1 - np.linspace(1e-4, 0.02, num_timesteps)))


def cosine_alphas(num_timesteps: int) -> Tensor:
    t = torch.arange(num_timesteps + 1, dtype=torch.float64) / num_timesteps
    curve = torch.cos((t + 0.008) / 1.008 * torch.pi / 2) ** 2
    return (curve[1:] / curve[0]).clamp(1e-6, 1 - 1e-6)


def test_the_published_schedule_maps_to_its_own_timesteps() -> None:
    steps = published_timesteps(linear_alphas())
    assert steps.dtype == torch.float32
    torch.testing.assert_close(steps, torch.arange(1000.0), atol=1e-4, rtol=0)
    assert (steps[0], steps[-1]) == (0, 999)


@pytest.mark.parametrize(
    "alphas", [cosine_alphas(50), cosine_alphas(1000), linear_alphas(50)], ids=["cosine 50", "cosine 1000", "linear 50"]
)
def test_a_mapped_timestep_has_the_noise_level_it_stands_for(alphas: Tensor) -> None:
    def log_snr(a: np.ndarray) -> np.ndarray:
        return np.log(a / (1 - a))

    table = log_snr(linear_alphas().numpy())
    found = np.interp(published_timesteps(alphas).double().numpy(), np.arange(1000), table)
    np.testing.assert_allclose(found, log_snr(alphas.numpy()).clip(table[-1], table[0]), atol=1e-4)


@pytest.mark.parametrize(
    "alphas", [cosine_alphas(50), cosine_alphas(1000), linear_alphas(50)], ids=["cosine 50", "cosine 1000", "linear 50"]
)
def test_mapped_timesteps_rise_with_the_noise_and_stay_in_the_published_range(alphas: Tensor) -> None:
    steps = published_timesteps(alphas)
    inside = (alphas < linear_alphas()[0]) & (alphas > linear_alphas()[-1])
    assert (steps.diff() >= 0).all() and (steps[inside].diff() > 0).all()
    assert steps.min() >= 0 and steps.max() <= 999


def test_levels_beyond_the_published_range_are_clamped() -> None:
    levels = torch.tensor([1.0, 0.99995, 0.5, 1e-5, 0.0])
    steps = published_timesteps(levels)
    assert steps[:2].tolist() == [0, 0] and steps[3:].tolist() == [999, 999] and 0 < steps[2] < 999
