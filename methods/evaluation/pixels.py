"""Generated clips by their pixels: the nearest real clip, and clips of two prompts told apart."""

from __future__ import annotations

import math

import numpy as np
import torch

from dataset import TextToSignDataset
from methods.evaluation.scores import Score

PIXELS_AT_A_TIME = 2**16
SSIM_WINDOW, SSIM_DEVIATION = 11, 1.5  # px
SSIM_CONSTANTS = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr(clip: np.ndarray, real: np.ndarray) -> float:
    """Of whole pictures, in dB; both (F, H, W, 3) uint8. Equal clips have 68 dB."""
    error = float(np.mean((clip.astype(np.float32) - real) ** 2))
    return 10 * math.log10(255**2 / max(error, 1e-2))


def ssim(clip: np.ndarray, real: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004, eq. 13, with its window), mean over places, channels and frames.

    Both (F, H, W, 3) uint8.
    """
    a, b = (torch.from_numpy(np.array(each)).permute(0, 3, 1, 2).double() for each in (clip, real))
    rows, columns = (_windows(length) for length in a.shape[2:])
    mean_a, mean_b, aa, bb, ab = (rows @ each @ columns.T for each in (a, b, a * a, b * b, a * b))
    first, second = SSIM_CONSTANTS
    likeness = (2 * mean_a * mean_b + first) * (2 * (ab - mean_a * mean_b) + second)
    return float((likeness / ((mean_a**2 + mean_b**2 + first) * (aa - mean_a**2 + bb - mean_b**2 + second))).mean())


def _windows(length: int) -> torch.Tensor:
    """(places, length) float64: a Gaussian at every place where the whole of it lies in the picture."""
    size = min(SSIM_WINDOW, length)
    bell = torch.exp(-((torch.arange(size, dtype=torch.float64) - (size - 1) / 2) ** 2) / (2 * SSIM_DEVIATION**2))
    places = torch.arange(length - size + 1)[:, None] + torch.arange(size)
    return torch.zeros(len(places), length, dtype=torch.float64).scatter_(
        1, places, (bell / bell.sum()).expand_as(places)
    )


def score_retrieval(
    clips: list[np.ndarray], captions: list[str], data: TextToSignDataset, indices: list[int]
) -> tuple[Score, float]:
    """Is the real clip nearest to a generated one, in pixels, one of its caption? Chance counts the clips of each.

    ``clips`` made for ``captions`` against the real clips ``indices``. Also the mean PSNR in dB to the nearest clip of
    the own caption.
    """
    real = data.videos(indices).flatten(1)  # (clips, pixels) in [-1, 1]
    texts = [data.texts[index] for index in indices]
    correct, decibels, chance = 0, [], 0.0
    for clip, caption in zip(clips, captions, strict=True):
        made = torch.from_numpy(clip).permute(3, 0, 1, 2).flatten().float() / 127.5 - 1
        errors = (real - made).square().mean(1)
        own = torch.tensor([text == caption for text in texts])
        correct += bool(own[errors.argmin()])
        decibels.append(float(10 * torch.log10(4 / errors[own].min().clamp(min=1e-10))))
        chance += float(own.float().mean()) / len(captions)
    return Score(correct, len(captions), chance), float(np.mean(decibels))


def prompt_distance(clips: list[np.ndarray], captions: list[str]) -> dict[str, float | None] | None:
    """Mean RMS distances in grey levels ``between`` clips of two prompts and ``within`` one, and their ``ratio``.

    The ratio is 1 for a model that ignores its prompt, None (infinite) for one that ignores its noise. ``clips``
    (F, H, W, 3) uint8 made for ``captions``; None unless there are two captions and one has two clips.
    """
    flat = np.stack(clips).reshape(len(clips), -1)
    products = np.zeros((len(flat), len(flat)))  # exact: whole numbers in float64, some pixels at a time
    for start in range(0, flat.shape[1], PIXELS_AT_A_TIME):
        part = flat[:, start : start + PIXELS_AT_A_TIME].astype(np.float64)
        products += part @ part.T
    norms = products.diagonal()
    distances = np.sqrt((norms[:, None] + norms[None] - 2 * products) / flat.shape[1])
    _, which = np.unique(captions, return_inverse=True)
    same = which[:, None] == which[None]
    pairs = np.triu(np.ones_like(same), k=1)
    if not (same & pairs).any() or same.all():
        return None
    between, within = float(distances[~same & pairs].mean()), float(distances[same & pairs].mean())
    return {"between": between, "within": within, "ratio": between / within if within else None}
