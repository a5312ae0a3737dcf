"""Does the model obey the text? Prompt ranking on real clips, retrieval on generated ones, each with its chance level.

Both are needed: ranking can be perfect while samples are garbage, because text may be used at middle noise and not at
the high noise where sampling begins. So ranking is also given for each noise level.

    python main.py evaluate --checkpoint checkpoints/demo/latest_checkpoint.pt
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from config import UserError
from dataset import TextToSignDataset
from methods.sampler import LoadedModel, Request, generate, sampling_settings
from utils import runtime
from utils.video import contact_sheet, write_gif

NUM_NOISE_LEVELS = 8  # stratified timesteps of the ranking
RANKING_BATCH = 32  # prompts in one forward
Z_95 = 1.959964  # two-sided 95 % quantile of the normal distribution


class EvaluationError(UserError):
    """The data cannot show whether the text is obeyed, or the report has no place."""


@dataclass(frozen=True)
class Score:
    """``correct`` of ``num``; ``chance`` is the probability of a right answer by guessing."""

    correct: int
    num: int
    chance: float

    @property
    def accuracy(self) -> float:
        return self.correct / self.num

    def interval(self) -> tuple[float, float]:
        """95 % Wilson score interval of the accuracy (Wilson 1927)."""
        p, n, z2 = self.accuracy, self.num, Z_95**2
        centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = Z_95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
        return max(0.0, centre - half), min(1.0, centre + half)

    def chance_interval(self) -> tuple[float, float]:
        """Central 95 % of the accuracy of guessing, from the binomial distribution."""
        n, p = self.num, self.chance
        if p in (0.0, 1.0):
            return p, p
        # Logarithms, since the number of ways leaves a float's range above n = 1,029.
        ways = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(n + 1)]
        below = np.cumsum([math.exp(w + k * math.log(p) + (n - k) * math.log1p(-p)) for k, w in enumerate(ways)])
        low = int(np.searchsorted(below, 0.025))
        return low / n, int(np.searchsorted(below, 0.975)) / n

    def to_dict(self) -> dict[str, object]:
        """Everything that a report states."""
        low, high = self.interval()
        by_guessing = self.chance_interval()
        return {**asdict(self), "accuracy": self.accuracy, "interval_95": [low, high], "chance_95": list(by_guessing)}


@dataclass(frozen=True)
class Ranking:
    """Prompt ranking: all noise levels together, and each ``t`` alone."""

    score: Score
    by_timestep: dict[int, Score]


@dataclass(frozen=True)
class Retrieval:
    """Retrieval of generated clips, and the mean PSNR in dB to the nearest real clip of the asked caption."""

    score: Score
    psnr: float
    clips: list[np.ndarray]  # (F, H, W, 3) uint8, the first of every caption, then the second, ...


def noise_levels(num_steps: int, num_levels: int = NUM_NOISE_LEVELS) -> list[int]:
    """The middles of ``num_levels`` equal parts of [0, T)."""
    return [int((k + 0.5) * num_steps / num_levels) for k in range(num_levels)]


def prompt_ranking(
    loaded: LoadedModel,
    data: TextToSignDataset,
    indices: list[int],
    captions: list[str],
    *,
    num_levels: int = NUM_NOISE_LEVELS,
    show_progress: bool = True,
) -> Ranking:
    """For each clip: is the denoising error lowest under its own caption?

    The error is the mean squared error of the x_0 estimate, with the same noise under every caption. A tie counts as
    wrong, so a model that ignores the text scores 0, not 1.
    """
    levels = noise_levels(loaded.config.TIMESTEPS, num_levels)
    bar = tqdm(indices, desc="prompt ranking", unit="clip", dynamic_ncols=True, disable=not show_progress)
    errors = torch.stack(
        [_caption_errors(loaded, data, index, captions, levels) for index in bar]
    )  # (clips, levels, captions)
    asked = torch.tensor([captions.index(data.texts[index]) for index in indices])
    by_timestep = {t: _score(errors[:, k], asked) for k, t in enumerate(levels)}
    return Ranking(_score(errors.mean(1), asked), by_timestep)


def _caption_errors(
    loaded: LoadedModel, data: TextToSignDataset, index: int, captions: list[str], levels: list[int]
) -> Tensor:
    """(levels, captions) denoising errors of one clip."""
    model, device = loaded.model, loaded.model.clip_mean.device
    video = data[index].video[None].to(device)
    draw = runtime.generator(loaded.config.SEED, "ranking", data.names[index])
    rows = []
    for t in levels:
        eps = torch.randn(video.shape, generator=draw).to(device)
        parts = []
        for start in range(0, len(captions), RANKING_BATCH):
            text = loaded.encoder.encode(captions[start : start + RANKING_BATCH]).to(device)
            b = len(text.pooled)
            shape = (b, *video.shape[1:])
            now = torch.full((b,), t, device=device)
            parts.append(model.denoising_error(video.expand(shape), text, eps.expand(shape), now).cpu())
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def _score(errors: Tensor, asked: Tensor) -> Score:
    """``errors`` (clips, captions), ``asked`` (clips,): right where the asked caption is strictly the lowest."""
    own = errors.gather(1, asked[:, None])
    others = errors.scatter(1, asked[:, None], math.inf)
    return Score(int((own[:, 0] < others.min(1).values).sum()), len(errors), 1 / errors.shape[1])


def retrieval(
    loaded: LoadedModel, data: TextToSignDataset, indices: list[int], captions: list[str], *, clips_per_caption: int = 1
) -> Retrieval:
    """Generate clips for each caption: is the nearest real clip, in pixels, one of the asked caption?

    More than one clip a caption narrows the interval of guessing; they share a model, so they are not independent.
    """
    config = loaded.config
    requests = [Request(caption, config.SEED, index) for index in range(clips_per_caption) for caption in captions]
    with tqdm(
        total=len(requests) * config.INFERENCE_TIMESTEPS, desc="generating", unit="clip step", dynamic_ncols=True
    ) as bar:
        clips = generate(loaded.model, loaded.encoder, requests, **sampling_settings(config), on_step=bar.update)
    return score_retrieval(clips, [request.prompt for request in requests], data, indices)


def score_retrieval(
    clips: list[np.ndarray], captions: list[str], data: TextToSignDataset, indices: list[int]
) -> Retrieval:
    """``clips`` made for ``captions`` against the real clips ``indices``; chance counts the clips of each caption."""
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
    return Retrieval(Score(correct, len(captions), chance), float(np.mean(decibels)), clips)


def evaluate(
    loaded: LoadedModel, data: TextToSignDataset, *, folder: Path, max_clips: int = 64, clips_per_caption: int = 4
) -> dict[str, object]:
    """Both measures on at most ``max_clips`` clips; writes evaluation.json, contact_sheet.png and the clips.

    Raises:
        EvaluationError: fewer than two captions, so that nothing could be confused; ``folder`` cannot be made.
    """
    order = torch.randperm(len(data), generator=runtime.generator(loaded.config.SEED, "evaluation")).tolist()
    indices = sorted(order[:max_clips])
    captions = sorted({data.texts[index] for index in indices})
    if len(captions) < 2:
        raise EvaluationError(f"{data.folder} has one caption, {captions[0]!r}; ranking needs at least 2.")
    try:
        folder.mkdir(parents=True, exist_ok=True)  # before hours of computing, not after
    except OSError as error:
        raise EvaluationError(f"{folder} cannot be a folder ({error.strerror}). Use another --output") from error
    ranking = prompt_ranking(loaded, data, indices, captions)
    found = retrieval(loaded, data, indices, captions, clips_per_caption=clips_per_caption)
    report = {
        "checkpoint": str(loaded.path),
        "step": loaded.step,
        "data": str(data.folder),
        "num_clips": len(indices),
        "num_captions": len(captions),
        "clips_per_caption": clips_per_caption,
        "prompt_ranking": ranking.score.to_dict(),
        "prompt_ranking_by_timestep": {str(t): score.to_dict() for t, score in ranking.by_timestep.items()},
        "retrieval": found.score.to_dict(),
        "retrieval_psnr_db": found.psnr,
        "sampling": sampling_settings(loaded.config),
        "seed": loaded.config.SEED,
    }
    _write(folder, report, found, captions, data, indices, fps=loaded.config.FPS)
    return report


def _write(
    folder: Path,
    report: dict[str, object],
    found: Retrieval,
    captions: list[str],
    data: TextToSignDataset,
    indices: list[int],
    *,
    fps: int,
) -> None:
    (folder / "evaluation.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    real = [data.frames(next(i for i in indices if data.texts[i] == caption)) for caption in captions]
    sheet = contact_sheet([("real", real), ("generated", found.clips[: len(captions)])], short_titles(captions))
    sheet.save(folder / "contact_sheet.png")
    for number, clip in enumerate(found.clips):
        copy, which = divmod(number, len(captions))
        write_gif(folder / "generated" / f"{which:03d}_{copy}.gif", clip, fps=fps, comment=captions[which])


def short_titles(captions: list[str]) -> list[str]:
    """Captions without the words that all of them begin or end with: ``letter A in X`` -> ``A``."""
    words = [caption.split() for caption in captions]
    shortest = min(map(len, words)) - 1
    front = next((k for k in range(shortest) if len({w[k] for w in words}) > 1), shortest)
    back = next((k for k in range(shortest - front) if len({w[-1 - k] for w in words}) > 1), shortest - front)
    return [" ".join(w[front : len(w) - back]) for w in words]


def format_report(report: dict[str, object]) -> str:
    """The table that ``evaluate`` prints."""
    lines = [
        f"checkpoint {report['checkpoint']} at step {report['step']:,}; "
        f"{report['num_clips']} clips, {report['num_captions']} captions from {report['data']}",
        "",
        f"{'measure':<34}{'right':>9}{'share':>8}{'95 % interval':>17}{'chance':>9}{'95 % of guessing':>19}",
    ]
    lines.append(_row("prompt ranking", report["prompt_ranking"]))
    lines += [_row(f"  at t = {t} alone", score) for t, score in report["prompt_ranking_by_timestep"].items()]
    lines.append(_row("retrieval of generated clips", report["retrieval"]))
    decibels = report["retrieval_psnr_db"]
    lines += ["", f"PSNR of generated clips to the nearest real clip of their caption: {decibels:.1f} dB"]
    return "\n".join(lines)


def _row(name: str, score: dict) -> str:
    low, high = score["interval_95"]
    guess_low, guess_high = score["chance_95"]
    return (
        f"{name:<34}{score['correct']:>5}/{score['num']:<3}{score['accuracy']:>8.3f}"
        f"{f'{low:.3f}-{high:.3f}':>17}{score['chance']:>9.3f}{f'{guess_low:.3f}-{guess_high:.3f}':>19}"
    )
