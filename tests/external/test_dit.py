"""external/TinyFusion/dit.py against closed forms, against diffusers' own DiT, and against the published contract."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from config import Variant
from external.TinyFusion.dit import PATCH_SIZES, VARIANTS, DiT, DiTShape, parse_variant, variant_of
from models.layers.positions import fitted_positions, sincos_positions

D14_TENSORS, D14_ELEMENTS = 152, 340_457_504


def random_dit(**sizes: int | bool) -> DiT:
    """A small DiT whose every parameter is random, so that no path is switched off by adaLN-Zero."""
    torch.manual_seed(0)
    dit = DiT(**{"input_size": 8, "hidden_size": 64, "depth": 2, "num_heads": 4, "num_classes": 10, **sizes}).eval()
    for parameter in dit.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return dit


def inputs(size: int = 8, channels: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, channels, size, size, generator=generator)
    return x, torch.tensor([0, 417, 999]), torch.tensor([0, 7, 10])


# ---- Variants -------------------------------------------------------------------------------------------------------


def test_the_parser_accepts_exactly_the_variants_of_the_config() -> None:
    names = {f"DiT-{name}/{patch_size}" for name in VARIANTS for patch_size in PATCH_SIZES}
    assert names == set(get_args(Variant))
    for name in names:
        shape = parse_variant(name)
        assert (
            name == f"DiT-{name[4:].split('/')[0]}/{shape.patch_size}" and shape[:3] == VARIANTS[name[4:].split("/")[0]]
        )


def test_a_variant_is_depth_width_heads_and_patch_size() -> None:
    shape = DiTShape(depth=14, hidden_size=1152, num_heads=16, patch_size=2, published=True)
    assert parse_variant("DiT-D14/2") == shape
    assert not parse_variant("DiT-XS/16").published
    assert variant_of(14, 1152, 2) == "DiT-D14/2" and variant_of(14, 1152, 3) is variant_of(13, 1152, 2) is None


# ---- The published contract -----------------------------------------------------------------------------------------


def test_d14_has_the_published_152_tensors_and_340457504_elements() -> None:
    """Both counts are of the state dict, the fixed table pos_embed (294,912 elements) included."""
    with torch.device("meta"):
        dit = DiT(input_size=32, patch_size=2, in_channels=4, hidden_size=1152, depth=14, num_heads=16)
    state = dit.state_dict()
    assert (len(state), sum(value.numel() for value in state.values())) == (D14_TENSORS, D14_ELEMENTS)
    trainable = sum(parameter.numel() for parameter in dit.parameters())
    assert trainable == D14_ELEMENTS - 256 * 1152  # positions are never trained


def test_the_state_dict_has_the_published_names_and_shapes() -> None:
    d, rows = 64, 2 * 2 * 8
    linears = {"t_embedder.mlp.0": (d, 256), "t_embedder.mlp.2": (d, d)}
    linears |= {"final_layer.linear": (rows, d), "final_layer.adaLN_modulation.1": (2 * d, d)}
    for i in range(2):
        linears |= {f"blocks.{i}.attn.qkv": (3 * d, d), f"blocks.{i}.attn.proj": (d, d)}
        linears |= {f"blocks.{i}.mlp.fc1": (4 * d, d), f"blocks.{i}.mlp.fc2": (d, 4 * d)}
        linears |= {f"blocks.{i}.adaLN_modulation.1": (6 * d, d)}
    wanted: dict[str, tuple[int, ...]] = {f"{name}.weight": shape for name, shape in linears.items()}
    wanted |= {f"{name}.bias": shape[:1] for name, shape in linears.items()}
    wanted |= {"x_embedder.proj.weight": (d, 4, 2, 2), "x_embedder.proj.bias": (d,), "pos_embed": (1, 16, d)}
    wanted |= {"y_embedder.embedding_table.weight": (11, d)}
    assert {name: tuple(value.shape) for name, value in random_dit().state_dict().items()} == wanted


def test_without_classes_there_is_no_class_table_and_labels_are_ignored() -> None:
    dit = random_dit(num_classes=0)
    x, t, y = inputs()
    assert not any(name.startswith("y_embedder") for name in dit.state_dict())
    torch.testing.assert_close(dit(x, t), dit(x, t, y), atol=0, rtol=0)


@pytest.mark.parametrize(("learn_sigma", "channels", "wanted"), [(True, 4, 8), (False, 3, 3)])
@torch.no_grad()
def test_the_output_has_the_input_s_size_and_twice_its_channels_with_learned_variance(
    learn_sigma: bool, channels: int, wanted: int
) -> None:
    dit = random_dit(input_size=16, patch_size=4, in_channels=channels, learn_sigma=learn_sigma)
    x, t, y = inputs(16, channels)
    assert dit(x, t, y).shape == (3, wanted, 16, 16)


# ---- Independent implementation -------------------------------------------------------------------------------------


def load_into_diffusers(dit: DiT, other: torch.nn.Module) -> None:
    """Our weights under diffusers' names: q, k, v apart, and the embedders once per block."""
    ours, theirs = dit.state_dict(), {}
    for name in ("weight", "bias"):
        theirs[f"pos_embed.proj.{name}"] = ours[f"x_embedder.proj.{name}"]
        theirs[f"proj_out_1.{name}"] = ours[f"final_layer.adaLN_modulation.1.{name}"]
        theirs[f"proj_out_2.{name}"] = ours[f"final_layer.linear.{name}"]
        for i in range(len(dit.blocks)):
            block, to = f"blocks.{i}", f"transformer_blocks.{i}"
            theirs[f"{to}.norm1.emb.timestep_embedder.linear_1.{name}"] = ours[f"t_embedder.mlp.0.{name}"]
            theirs[f"{to}.norm1.emb.timestep_embedder.linear_2.{name}"] = ours[f"t_embedder.mlp.2.{name}"]
            theirs[f"{to}.norm1.emb.class_embedder.embedding_table.weight"] = ours["y_embedder.embedding_table.weight"]
            theirs[f"{to}.norm1.linear.{name}"] = ours[f"{block}.adaLN_modulation.1.{name}"]
            for letter, part in zip("qkv", ours[f"{block}.attn.qkv.{name}"].chunk(3), strict=True):
                theirs[f"{to}.attn1.to_{letter}.{name}"] = part
            theirs[f"{to}.attn1.to_out.0.{name}"] = ours[f"{block}.attn.proj.{name}"]
            theirs[f"{to}.ff.net.0.proj.{name}"] = ours[f"{block}.mlp.fc1.{name}"]
            theirs[f"{to}.ff.net.2.{name}"] = ours[f"{block}.mlp.fc2.{name}"]
    other.load_state_dict(theirs, strict=True)
    for block in other.transformer_blocks:
        # diffusers divides the frequencies' exponents by 127; Vaswani et al. 2017 and the published model by 128.
        block.norm1.emb.time_proj.downscale_freq_shift = 0


@torch.no_grad()
def test_it_agrees_with_the_dit_of_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    dit = random_dit()
    other = diffusers.DiTTransformer2DModel(
        num_attention_heads=4, attention_head_dim=16, in_channels=4, out_channels=8, num_layers=2, sample_size=8,
        num_embeds_ada_norm=10, norm_eps=1e-6,
    ).eval()  # fmt: skip
    load_into_diffusers(dit, other)
    x, t, y = inputs()
    output = dit(x, t, y)
    assert output.std() > 0.1
    torch.testing.assert_close(output, other(x, timestep=t, class_labels=y).sample, atol=1e-5, rtol=1e-5)


# ---- Positions, timesteps, patches ----------------------------------------------------------------------------------


def test_positions_are_sines_then_cosines_of_the_column_then_of_the_row() -> None:
    width, grid = 24, 5
    table = sincos_positions(width, grid)
    assert table.shape == (grid * grid, width) and table.dtype == torch.float32
    quarter = width // 4
    for token in range(grid * grid):
        for channel in range(width):
            position = token % grid if channel < width // 2 else token // grid
            within = channel % (width // 2)
            wave = math.sin if within < quarter else math.cos
            wanted = wave(position * 10_000.0 ** (-(within % quarter) / quarter))
            assert table[token, channel].item() == pytest.approx(wanted, abs=1e-7)


def test_fitted_positions_have_waves_from_two_patches_to_twice_the_grid() -> None:
    width, grid = 24, 4
    table = fitted_positions(width, grid).unflatten(0, (grid, grid))  # (y, x, width)
    waves = [2 * grid ** (k / 5) for k in range(6)]  # in patches
    for k, wave in enumerate(waves):
        for place in range(grid):
            sine, cosine = (math.sqrt(2) * f(2 * math.pi * place / wave) for f in (math.sin, math.cos))
            torch.testing.assert_close(table[:, place, [k, 6 + k]], torch.tensor([sine, cosine]).expand(grid, 2))
            torch.testing.assert_close(table[place, :, [12 + k, 18 + k]], torch.tensor([sine, cosine]).expand(grid, 2))


def test_fitted_positions_tell_patches_of_a_coarse_grid_apart_where_published_ones_hardly_do() -> None:
    def spread(table: torch.Tensor) -> float:
        """Mean square that is left once what all patches share is taken away."""
        return float((table - table.mean(0)).square().mean())

    assert spread(sincos_positions(192, 4)) < 0.04
    assert spread(fitted_positions(192, 4)) > 0.85


@torch.no_grad()
def test_timestep_features_are_cosines_then_sines_and_take_fractions() -> None:
    dit = random_dit()
    seen: list[Tensor] = []
    dit.t_embedder.mlp[0].register_forward_hook(lambda _module, args, _output: seen.append(args[0]))
    assert dit.t_embedder(torch.tensor([0.0, 12.5, 999.0])).shape == (3, 64)
    angle = torch.tensor([0.0, 12.5, 999.0], dtype=torch.float64)[:, None] * 10_000.0 ** (-torch.arange(128.0) / 128)
    wanted = torch.cat([angle.cos(), angle.sin()], dim=1)
    torch.testing.assert_close(seen[0].double(), wanted, atol=2e-4, rtol=0)  # float32 angles up to 999 rad


@torch.no_grad()
def test_unpatchify_undoes_cutting_into_patches_with_channels_last() -> None:
    dit = random_dit(input_size=12, patch_size=4, in_channels=3, learn_sigma=False)
    x = inputs(12, 3)[0]
    rows = []
    for gy in range(3):
        for gx in range(3):
            patch = x[:, :, 4 * gy : 4 * gy + 4, 4 * gx : 4 * gx + 4]
            rows.append(patch.permute(0, 2, 3, 1).flatten(1))
    torch.testing.assert_close(dit.unpatchify(torch.stack(rows, dim=1)), x, atol=0, rtol=0)


@torch.no_grad()
def test_embed_patches_is_one_linear_map_of_each_patch_plus_its_position() -> None:
    dit = random_dit(input_size=12, patch_size=4, in_channels=3)
    x = inputs(12, 3)[0]
    patches = torch.nn.functional.unfold(x, kernel_size=4, stride=4).transpose(1, 2)  # (B, N, C * p * p)
    weight, bias = dit.x_embedder.proj.weight.flatten(1), dit.x_embedder.proj.bias
    wanted = patches @ weight.T + bias + sincos_positions(64, 3)
    torch.testing.assert_close(dit.embed_patches(x), wanted, atol=1e-5, rtol=1e-5)


# ---- The parts that a wrapper drives --------------------------------------------------------------------------------


@torch.no_grad()
def test_modulation_once_per_clip_gives_what_modulation_once_per_frame_gives() -> None:
    dit = random_dit(num_classes=0)
    frames = torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    c = dit.t_embedder(torch.tensor([250.5]))  # (1, D), one clip
    tokens = dit.embed_patches(frames)
    for block in dit.blocks:
        modulation = block.modulation(c)
        assert modulation.shape == (1, 6, 64)
        tokens = block(tokens, modulation)
    modulation = dit.final_layer.modulation(c)
    assert modulation.shape == (1, 2, 64)
    output = dit.unpatchify(dit.final_layer(tokens, modulation))
    torch.testing.assert_close(output, dit(frames, torch.full((6,), 250.5)), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_every_input_matters() -> None:
    dit = random_dit()
    x, t, y = inputs()
    output = dit(x, t, y)
    for other in (dit(x + 0.5, t, y), dit(x, t.flip(0), y), dit(x, t, y.flip(0))):
        assert (other - output).abs().amax() > 1e-2


@torch.no_grad()
def test_a_fresh_model_predicts_zero_and_its_blocks_are_the_identity() -> None:
    dit = DiT(input_size=8, hidden_size=64, depth=2, num_heads=4, num_classes=10)
    x, t, y = inputs()
    assert dit(x, t, y).abs().max() == 0
    tokens = dit.embed_patches(x)
    torch.testing.assert_close(
        dit.blocks[0](tokens, dit.blocks[0].modulation(dit.t_embedder(t))), tokens, atol=0, rtol=0
    )


def test_fresh_weights_have_the_spread_they_are_said_to_have() -> None:
    torch.manual_seed(0)
    dit = DiT(input_size=8, patch_size=4, in_channels=4, hidden_size=256, depth=1, num_heads=4, num_classes=1000)
    wanted = {
        "x_embedder.proj.weight": math.sqrt(2 / (4 * 4 * 4 + 256)),  # fans of the linear map, not of the convolution
        "blocks.0.attn.qkv.weight": math.sqrt(2 / (256 + 768)),
        "t_embedder.mlp.0.weight": 0.02,
        "t_embedder.mlp.2.weight": 0.02,
        "y_embedder.embedding_table.weight": 0.02,
    }
    for name, std in wanted.items():
        assert dit.get_parameter(name).std().item() == pytest.approx(std, rel=0.05), name
    biases = [value for name, value in dit.named_parameters() if name.endswith("bias")]
    assert len(biases) == 10 and all(value.abs().max() == 0 for value in biases)


def test_a_fresh_model_learns_through_its_zeros() -> None:
    """With zero gates and a zero final layer every gradient is zero but the last ones; two steps free all others."""
    torch.manual_seed(0)
    dit = DiT(input_size=8, hidden_size=64, depth=2, num_heads=4, num_classes=10)
    optimiser = torch.optim.SGD(dit.parameters(), lr=0.1)
    x, t, y = inputs()
    for _ in range(3):
        optimiser.zero_grad()
        (dit(x, t, y)[:, :4] - x).square().mean().backward()
        optimiser.step()
    still = [name for name, value in dit.named_parameters() if value.grad is None or value.grad.abs().max() == 0]
    assert still == []
