"""Reading a published DiT weights file and fitting it to a DiT of ours (pretrained/README.md).

A published model sees the 4 latent channels of a VAE, ours the 3 colours. One linear map T, LATENT_OF_RGB, joins them
in both directions, z = T x on the way in and x = pinv(T) z on the way out, so that the result is the published noise
predictor, seen through T, from its first step on. Two properties choose T, and fix it up to rotations:

- Its rows have length 1. White noise of unit variance in x has unit variance in every latent channel, which is the
  input that every published filter was trained on; dropping a channel or averaging the four would not give it.
- Its columns are orthogonal and equally long. The signal-to-noise ratio in z is that of x, so that a timestep keeps its
  meaning, and the colours stay apart and equal.

A published model is also conditioned on a class, c = t_embedder(t) + y_embedder(y), and was trained to do without: the
last row of its class table stands for a dropped label. A model of ours has no classes, so that row, a constant, moves
into the last bias of the timestep embedding, and what is loaded is the published unconditional model.

Imports ``config``, torch, the noise schedules and ``dit`` only.

Example::

    report = load_published(dit, read_published(Path("pretrained/TinyDiT-D14-MaskedKD-500K.pt")))
    print(report)
"""

from __future__ import annotations

import argparse
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from config import UserError
from external.TinyFusion.dit import DiT, variant_of
from schedulers.noise_schedulers import linear_alphas_cumprod, log_snr

LATENT_CHANNELS = 4
RGB_CHANNELS = 3
LATENT_OF_RGB = ((1.0, 1.0, 1.0), (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0))
"""sqrt(3) T: the corners of a tetrahedron in the cube of colours; T^T T is 4/3 of the identity."""

CLASS_TABLE = "y_embedder.embedding_table.weight"
PUBLISHED_CLASS_ROWS = 1001  # ImageNet's classes, then the null class of dropped labels
NULL_CLASS_HOME = "t_embedder.mlp.2.bias"  # where the null class goes in a model without classes

PUBLISHED_TIMESTEPS = 1000  # of linear betas
NAMED_IN_REPORT = 8  # lists up to this long are written out


class WeightsError(UserError):
    """A published weights file that cannot be read or does not fit the model."""


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor of the file and of the model, by name; nothing falls between the lists."""

    loaded: tuple[str, ...]  # bit for bit as published
    adapted: tuple[str, ...]  # put to use in another form, whole or in part, or recomputed
    newly_initialised: tuple[str, ...]  # in the model only; ``load_published`` leaves none, a wrapper adds its own
    ignored: tuple[str, ...]  # in the file and without any trace in the model; ``load_published`` leaves none

    def __str__(self) -> str:
        """A line for each list: its length, and its names if they are few."""
        lines = []
        for title, names in vars(self).items():
            few = f": {', '.join(names)}" if 0 < len(names) <= NAMED_IN_REPORT else ""
            lines.append(f"{title.replace('_', ' ')} {len(names)}{few}")
        return "\n".join(lines)


# ---- Reading --------------------------------------------------------------------------------------------------------


def read_published(path: Path) -> dict[str, Tensor]:
    """Name -> tensor of a published file, on the CPU, memory-mapped where the format allows it.

    The file holds tensors by name, or such a table under ``ema`` (preferred: published results are those of the
    averaged weights) or ``model``. Nothing in the file is executed.

    Raises:
        WeightsError: no file, truncated, asks to run code, or holds something else.
    """
    if not path.is_file():
        raise WeightsError(
            f"{path} is no file; wanted published DiT weights. See pretrained/README.md for where to get them, or "
            "train without: --set TINYFUSION_INIT=scratch"
        )
    try:
        # DiT's training script saves its command line beside the weights; a Namespace only holds attributes.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torch.load has a dozen types for foreign bytes, and all are the same user's mistake
        raise WeightsError(
            f"{path} ({path.stat().st_size:,} bytes) is truncated or foreign; wanted a PyTorch file of tensors alone, "
            "as published. Download it again: pretrained/README.md."
        ) from error
    table = content
    if isinstance(content, Mapping):
        table = next((content[key] for key in ("ema", "model") if key in content), content)
    if not (isinstance(table, Mapping) and table and all(isinstance(value, Tensor) for value in table.values())):
        raise WeightsError(
            f"{path} holds no tensors by name; wanted them so, or as a table under 'ema' or 'model'. "
            "Use a file as published: pretrained/README.md."
        )
    return {str(name): value for name, value in table.items()}


# ---- Loading --------------------------------------------------------------------------------------------------------


def load_published(dit: DiT, weights: Mapping[str, Tensor], *, source: str = "The weights file") -> LoadReport:
    """Published ``weights`` into ``dit``, in place; ``source`` names them in errors.

    Strict, but for four places: the patch embedding and the final layer change from latent to RGB channels (and the
    final layer loses its variance half) by LATENT_OF_RGB; positions of another grid are recomputed; for a model without
    classes the null class is added to the timestep embedding. The class table then counts as adapted, like the final
    layer: a part of it is in use, the rest has none. On an error the model is as it was.

    Raises:
        WeightsError: another depth, width or patch size; an unknown or missing name; a wrong shape; values that are
            not finite.
    """
    _check_architecture(dit, weights, source)
    own = dit.state_dict()
    without_classes = CLASS_TABLE in weights and dit.y_embedder is None
    names = [name for name in weights if not (without_classes and name == CLASS_TABLE)]
    _check_names(names, own, source)
    values = {name: _fitted(name, weights[name], own[name], dit, source) for name in names}
    adapted = {name for name in names if weights[name].shape != own[name].shape}
    if without_classes:
        values[NULL_CLASS_HOME] = values[NULL_CLASS_HOME] + _null_class(weights[CLASS_TABLE], own, source)
        adapted |= {CLASS_TABLE, NULL_CLASS_HOME}
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value)
    return LoadReport(
        loaded=tuple(name for name in weights if name not in adapted),
        adapted=tuple(name for name in weights if name in adapted),
        newly_initialised=(),
        ignored=(),
    )


def _check_architecture(dit: DiT, weights: Mapping[str, Tensor], source: str) -> None:
    """Depth, width and patch size first: their error says more than the name of the first tensor that differs."""
    embedding = weights.get("x_embedder.proj.weight")
    if embedding is None or embedding.ndim != 4:
        raise WeightsError(f"{source} has no 4-D x_embedder.proj.weight; wanted DiT weights. See pretrained/README.md.")
    depth = len({name.split(".")[1] for name in weights if name.startswith("blocks.")})
    sizes = (depth, embedding.shape[0], embedding.shape[3]), (len(dit.blocks), dit.hidden_size, dit.patch_size)
    if sizes[0] != sizes[1]:
        found, wanted = ("{} blocks of width {} on patches of {} px".format(*size) for size in sizes)
        variant = variant_of(*sizes[0])
        cure = f"Set TINYFUSION_VARIANT={variant}, or" if variant else "Set"
        raise WeightsError(
            f"{source} holds {found}; the model has {wanted}. {cure} another TINYFUSION_CHECKPOINT, "
            "or TINYFUSION_INIT=scratch."
        )


def _check_names(names: list[str], own: Mapping[str, Tensor], source: str) -> None:
    unknown = [f"{name}, which the model has not" for name in names if name not in own]
    missing = [f"{name} {tuple(value.shape)}" for name, value in own.items() if name not in names]
    for verb, wrong in (("holds", unknown), ("lacks", missing)):
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise WeightsError(f"{source} {verb} {wrong[0]}{more}. Use a file as published: pretrained/README.md.")


def _fitted(name: str, value: Tensor, own: Tensor, dit: DiT, source: str) -> Tensor:
    """``value`` as the model takes it in ``own``'s place."""
    rule = RULES.get(name)
    fitted = value
    if value.shape != own.shape:
        fitted = rule(value, dit) if rule and value.is_floating_point() else None
    if fitted is None or fitted.shape != own.shape:
        raise _wrong_shape(name, value, own.shape, source)
    return _finite(name, fitted, own.dtype, source)


def _null_class(table: Tensor, own: Mapping[str, Tensor], source: str) -> Tensor:
    """The class table (1001, D) -> its last row (D,), which was trained on dropped labels."""
    home = own[NULL_CLASS_HOME]
    wanted = torch.Size([PUBLISHED_CLASS_ROWS, len(home)])
    if table.shape != wanted:  # with any other number of rows, nothing says that the last is the null class
        raise _wrong_shape(CLASS_TABLE, table, wanted, source)
    return _finite(CLASS_TABLE, table, home.dtype, source)[-1]


def _wrong_shape(name: str, value: Tensor, wanted: torch.Size, source: str) -> WeightsError:
    return WeightsError(
        f"{source} holds {name} {tuple(value.shape)}, the model wants {tuple(wanted)}. "
        "Use a file as published for this variant: pretrained/README.md."
    )


def _finite(name: str, value: Tensor, dtype: torch.dtype, source: str) -> Tensor:
    """``value`` in the model's ``dtype``, which may hold less than the file's."""
    if not (value.is_floating_point() and value.to(dtype).isfinite().all()):
        raise WeightsError(
            f"{source} holds {name} with values other than finite floating-point numbers; the file is damaged. "
            "Download it again: pretrained/README.md."
        )
    return value.to(dtype)


# ---- Channels and positions ------------------------------------------------------------------------------------------


def latent_of_rgb(like: Tensor) -> Tensor:
    """T (4, 3), from colours to latent channels, in the dtype and on the device of ``like``."""
    return torch.tensor(LATENT_OF_RGB, dtype=like.dtype, device=like.device) / math.sqrt(RGB_CHANNELS)


def rgb_patch_embedding(weight: Tensor) -> Tensor:
    """W (D, 4, p, p) -> W T (D, 3, p, p): the published embedding of z = T x."""
    return torch.einsum("dkij,kc->dcij", weight, latent_of_rgb(weight))


def noise_output(linear: Tensor, *, patch_size: int, channels: int) -> Tensor:
    """The final layer's weight or bias (p p 8, ...) -> (p p channels, ...): the noise half, in 4 or in RGB channels.

    RGB is pinv(T) of the latent prediction, pinv(T) = 3/4 T^T: exact where the prediction is T of some noise.
    """
    latent = linear.unflatten(0, (patch_size**2, 2 * LATENT_CHANNELS))[:, :LATENT_CHANNELS]
    if channels == LATENT_CHANNELS:
        return latent.flatten(0, 1)
    inverse = latent_of_rgb(linear).T * (RGB_CHANNELS / LATENT_CHANNELS)
    return torch.einsum("ck,pk...->pc...", inverse, latent).flatten(0, 1)


def _adapt_positions(value: Tensor, dit: DiT) -> Tensor | None:
    """Positions of another square grid: the table is fixed, so ours is already what the published would be."""
    square = value.ndim == 3 and math.isqrt(value.shape[1]) ** 2 == value.shape[1]
    return dit.pos_embed if square and value.shape[::2] == dit.pos_embed.shape[::2] else None


def _adapt_patch_embedding(value: Tensor, dit: DiT) -> Tensor | None:
    published = (dit.hidden_size, LATENT_CHANNELS, dit.patch_size, dit.patch_size)
    return rgb_patch_embedding(value) if dit.in_channels == RGB_CHANNELS and value.shape == published else None


def _adapt_final_linear(value: Tensor, dit: DiT) -> Tensor | None:
    """Weight or bias, for a model of noise alone; there is no rule for a variance per colour."""
    published = (dit.patch_size**2 * 2 * LATENT_CHANNELS, dit.hidden_size)[: value.ndim]
    noise_only = dit.out_channels == dit.in_channels and dit.in_channels in (RGB_CHANNELS, LATENT_CHANNELS)
    if not (noise_only and value.ndim and value.shape == published):
        return None
    return noise_output(value, patch_size=dit.patch_size, channels=dit.in_channels)


RULES: dict[str, Callable[[Tensor, DiT], Tensor | None]] = {  # name -> rule; None where the shape is none it knows
    "pos_embed": _adapt_positions,
    "x_embedder.proj.weight": _adapt_patch_embedding,
    "final_layer.linear.weight": _adapt_final_linear,
    "final_layer.linear.bias": _adapt_final_linear,
}


# ---- Timesteps ------------------------------------------------------------------------------------------------------


def published_timesteps(alphas_cumprod: Tensor) -> Tensor:
    """The published timestep of equal noise, for each of our levels: (T,) in [0, 1] -> (T,) float32 in [0, 999].

    Equal means the same log-SNR; between published steps linear in it, beyond the published range clamped. Monotone.
    Computed in float64 on the CPU.
    """
    table = -log_snr(linear_alphas_cumprod(PUBLISHED_TIMESTEPS))  # ascending
    levels = (-log_snr(alphas_cumprod.detach().cpu().double())).clamp(table[0], table[-1])
    above = torch.searchsorted(table, levels).clamp(min=1)
    fraction = (levels - table[above - 1]) / (table[above] - table[above - 1])
    return (above - 1 + fraction).float().to(alphas_cumprod.device)
