"""Weights in the exact published layout, for tests: names, shapes and positions written down apart from our model."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

Shape = tuple[int, ...]
Weights = dict[str, Tensor]


def published_layout(depth: int, d: int, *, patch: int = 2, grid: int = 16) -> dict[str, Shape]:
    """Names and shapes of a published file: 4 latent channels, learned variance, 1,000 classes and the null class."""
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


def closed_form_positions(d: int, grid: int) -> Tensor:
    """The published table (1, grid^2, d): sines, then cosines of the column, then of the row, row by row of the raster.

    sin(pos / 10000^(4k / d)) and its cosine for k < d / 4 (Vaswani et al. 2017, section 3.5), in numpy's float64.
    """
    row, column = np.divmod(np.arange(grid * grid)[:, None], grid)
    wave_length = 10_000.0 ** (4 * np.arange(d // 4) / d)
    parts = [wave(place / wave_length) for place in (column, row) for wave in (np.sin, np.cos)]
    return torch.from_numpy(np.concatenate(parts, axis=1)[None]).float()


def random_weights(depth: int, d: int, *, patch: int = 2, grid: int = 16, std: float = 0.1) -> Weights:
    """Seeded weights in the published layout: everything random but the positions, so that no path is switched off."""
    generator = torch.Generator().manual_seed(0)
    shapes = published_layout(depth, d, patch=patch, grid=grid)
    weights = {name: torch.randn(shape, generator=generator) * std for name, shape in shapes.items()}
    return weights | {"pos_embed": closed_form_positions(d, grid)}


def write_published(path: Path, weights: Weights) -> Path:
    """As DiT's training script saves them: averaged weights beside raw ones, the optimiser and the command line."""
    raw = {name: torch.zeros_like(value) for name, value in weights.items()}
    torch.save({"model": raw, "ema": weights, "opt": {}, "args": argparse.Namespace(lr=1e-4)}, path)
    return path
