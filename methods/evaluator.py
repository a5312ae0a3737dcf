"""Does the model obey the text? Prompt ranking on real clips, retrieval on generated ones, each with its chance level.

Both are needed: ranking can be perfect while samples are garbage, because text may be used at middle noise and not at
the high noise where sampling begins. So ranking is also given for each noise level.

    python main.py evaluate --checkpoint checkpoints/demo/latest_checkpoint.pt
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from config import UserError
from dataset import TextToSignDataset
from methods.prompt_ranking import prompt_ranking
from methods.retrieval import Retrieval, retrieval
from methods.sampler import LoadedModel, sampling_settings
from utils import runtime
from utils.video import contact_sheet, write_gif


class EvaluationError(UserError):
    """The data cannot show whether the text is obeyed, or the report has no place."""


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
