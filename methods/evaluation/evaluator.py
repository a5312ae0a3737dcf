"""Does the model obey the text, and is the motion alive? Every score with its chance, and controls that must fail.

On clips that were trained on and on held-out ones: prompt ranking, retrieval in pixels, the answers of a judge that was
trained on real clips alone, the distance between prompts, the motion. All are needed: ranking can be perfect while
samples are garbage, and a sample can be right while it does not move.

    python main.py evaluate --checkpoint checkpoints/demo/latest_checkpoint.pt
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from config import VERSION, UserError
from dataset import TextToSignDataset, data_identity
from methods.evaluation.controls import Control, denoising, redealt, refuse_untrained
from methods.evaluation.distance import judged, prompt_distance
from methods.evaluation.files import write_evaluation
from methods.evaluation.judge import STEPS
from methods.evaluation.judgement import Judgement, train_judge
from methods.evaluation.motion import measure_motion
from methods.evaluation.page import ClipPair
from methods.evaluation.ranking import Ranking, prompt_ranking
from methods.evaluation.retrieval import score_retrieval
from methods.sampling.generate import GeneratedClip, generate
from methods.sampling.loading import LoadedModel, sampling_settings
from methods.sampling.provenance import Request, path_text
from utils import runtime
from utils.captions import asked, contests
from utils.split import SplitError, split, without_copies

FORMAT = 2  # of evaluation.json
MAX_CANDIDATES = 64  # captions of a ranking
TRAIN, HELD_OUT, CLIPS = "train", "held_out", "clips"  # the parts; the last where it is not known which were trained on


class EvaluationError(UserError):
    """The data cannot show whether the text is obeyed, or the report has no place."""


@dataclass(frozen=True)
class Part:
    """Some real clips and what was generated for their captions, ``copies`` clips of each in turn."""

    name: str
    rows: list[int]  # of the data
    ranking: Ranking
    clips: list[GeneratedClip]

    @property
    def captions(self) -> list[str]:
        """One a generated clip."""
        return [clip.facts.prompt for clip in self.clips]

    @property
    def generated(self) -> list[np.ndarray]:
        """(F, H, W, 3) uint8 each."""
        return [clip.frames for clip in self.clips]


def evaluate(
    loaded: LoadedModel,
    data: TextToSignDataset,
    *,
    folder: Path,
    max_clips: int = 64,
    clips_per_caption: int = 4,
    blind: LoadedModel | None = None,
    command: str | None = None,
    recogniser_steps: int = STEPS,
) -> dict[str, object]:
    """Everything, on at most ``max_clips`` clips of each part; writes JSON, a page, a contact sheet and the clips.

    ``blind``: a model trained with SHUFFLE_CAPTIONS, one more control. ``command``: what the page says made it.

    Raises:
        EvaluationError: fewer than two captions, so that nothing could be confused; ``folder`` cannot be made.
        UntrainedError: a model was trained too little for its scores to mean anything. Nothing is written then.
    """
    rows = rows_by_part(loaded, data)
    if len({data.texts[row] for part in rows.values() for row in part}) < 2:
        raise EvaluationError(f"{data.folder} has one caption, {data.texts[0]!r}; ranking needs at least 2.")
    training = rows.get(TRAIN, rows.get(CLIPS, []))
    levels = denoising(loaded, data, training)
    share = refuse_untrained(loaded, levels)
    blind_share = refuse_untrained(blind, denoising(blind, data, training)) if blind else None
    try:
        folder.mkdir(parents=True, exist_ok=True)  # before hours of computing, not after
    except OSError as error:
        raise EvaluationError(f"{folder} cannot be a folder ({error.strerror}). Use another --output") from error
    found = train_judge(data, *_rows_of_judge(loaded, data, rows), seed=loaded.config.SEED, num_steps=recogniser_steps)
    parts, controls, reports, pairs = [], [], {}, []
    for name, all_rows in rows.items():
        part = _make_part(loaded, data, name, _some(loaded, name, all_rows, max_clips), clips_per_caption)
        report, answers = _report(part, data, found)
        parts.append(part)
        reports[name] = report
        controls += _controls(loaded, part, data, found)
        if blind:
            ranked = prompt_ranking(blind, data, part.rows, candidates(data, part.rows, loaded.config.SEED))
            controls.append(Control("text-blind model", "prompt ranking", part.name, ranked.score))
        pairs += _pairs(part, data, found, answers)
    report = {
        **_head(loaded, data, found),
        "averaged_weights_initial_share": share,
        "blind": _blind(blind, blind_share),
        "max_clips": max_clips,
        "clips_per_caption": clips_per_caption,
        "recogniser_steps": recogniser_steps,
        "denoising": {str(t): asdict(level) for t, level in levels.items()},
        "parts": reports,
        "controls": [control.to_dict() for control in controls],
    }
    write_evaluation(folder, report, pairs, fps=loaded.config.FPS, command=command)
    return report


def _head(loaded: LoadedModel, data: TextToSignDataset, found: Judgement) -> dict[str, object]:
    """What was evaluated, and by which recogniser."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "checkpoint": path_text(loaded.path),
        "checkpoint_sha256": loaded.hash.sha256,
        "step": loaded.step,
        "data": path_text(data.folder),
        "seed": loaded.config.SEED,
        "weights": "averaged",
        "sampling": sampling_settings(loaded.config),
        "recogniser": {
            "num_signs": len(found.judge.names),
            "num_training_signs": found.judge.num_training_signs,
            "crop": "hand" if found.judge.crop else "whole picture",
            "ceiling": found.ceiling.to_dict() if found.ceiling else None,
            "ceiling_of": found.ceiling_of,
        },
    }


def _blind(blind: LoadedModel | None, share: float | None) -> dict[str, object] | None:
    """Which text-blind model was a control."""
    if blind is None:
        return None
    known = {"checkpoint": path_text(blind.path), "checkpoint_sha256": blind.hash.sha256, "step": blind.step}
    return {**known, "averaged_weights_initial_share": share}


def rows_by_part(loaded: LoadedModel, data: TextToSignDataset) -> dict[str, list[int]]:
    """Rows to judge, without copies: trained on and held out, if these are the clips of the checkpoint's training.

    Where they are not, or the split is not known any more, that is said, and all clips are one part.
    """
    others = {CLIPS: without_copies(data.names, list(range(len(data))), copies=data.copies)}
    try:
        training, held_out = split(loaded.config, data.names, copies=data.copies)
    except SplitError as error:
        print(f"note: all clips are judged as one part, trained on or not: {error}", file=sys.stderr)
        return others
    if data_identity(data, training) != loaded.training_data:
        print("note: these are not the clips that the model was trained on, so they are one part", file=sys.stderr)
        return others
    parts = {TRAIN: without_copies(data.names, training, copies=data.copies), HELD_OUT: held_out}
    return {name: rows for name, rows in parts.items() if rows}


def _rows_of_judge(
    loaded: LoadedModel, data: TextToSignDataset, rows: dict[str, list[int]]
) -> tuple[list[int], list[int]]:
    """(training, held-out) rows of the recogniser: those of the model, or all clips where these are unknown."""
    if CLIPS in rows:
        return list(range(len(data))), []
    return split(loaded.config, data.names, copies=data.copies)


def _some(loaded: LoadedModel, name: str, rows: list[int], max_clips: int) -> list[int]:
    order = torch.randperm(len(rows), generator=runtime.generator(loaded.config.SEED, "evaluation", name)).tolist()
    return sorted(rows[i] for i in order[:max_clips])


def candidates(data: TextToSignDataset, rows: list[int], seed: int) -> list[list[str]]:
    """For each row the captions that its clip is ranked among: those of its surroundings, at most MAX_CANDIDATES.

    Where a surrounding has one caption only, all captions of the data.
    """
    found = []
    everything = sorted(set(data.texts))
    for row, among in zip(rows, contests(data.texts, [data.texts[row] for row in rows]), strict=True):
        among = among if len(among) > 1 else everything
        others = [caption for caption in among if caption != data.texts[row]]
        order = torch.randperm(len(others), generator=runtime.generator(seed, "candidates", data.names[row])).tolist()
        found.append(sorted([data.texts[row], *(others[i] for i in order[: MAX_CANDIDATES - 1])]))
    return found


def _make_part(loaded: LoadedModel, data: TextToSignDataset, name: str, rows: list[int], copies: int) -> Part:
    ranking = prompt_ranking(loaded, data, rows, candidates(data, rows, loaded.config.SEED))
    captions = sorted({data.texts[row] for row in rows})
    requests = [Request(caption, loaded.config.SEED, index) for index in range(copies) for caption in captions]
    return Part(name, rows, ranking, _generate(loaded, requests))


def _generate(loaded: LoadedModel, requests: list[Request]) -> list[GeneratedClip]:
    total = len(requests) * loaded.config.INFERENCE_TIMESTEPS
    with tqdm(total=total, desc="generating", unit="clip step", dynamic_ncols=True) as bar:
        return generate(loaded, requests, on_step=bar.update)


def _report(part: Part, data: TextToSignDataset, found: Judgement) -> tuple[dict[str, object], list[list[str]]]:
    """The part's figures, and the judge's answers for its generated clips.

    The ceiling is for held-out clips alone: of those that were trained on, the judge knows more.
    """
    real, texts = [data.frames(row) for row in part.rows], [data.texts[row] for row in part.rows]
    nearest = score_retrieval(part.generated, part.captions, data, part.rows)
    on_real, _ = judged(found.judge, real, texts)
    made, answers = judged(found.judge, part.generated, part.captions)
    distance = prompt_distance(part.generated, part.captions)
    few = part.ranking.few_way()
    ceiling = found.ceiling.accuracy if found.ceiling and part.name == HELD_OUT else 0.0
    return {
        "num_clips": len(part.rows),
        "num_captions": len(set(texts)),
        "prompt_ranking": part.ranking.score.to_dict(),
        "prompt_ranking_4_way": few.to_dict() if few else None,
        "prompt_ranking_by_timestep": {str(t): score.to_dict() for t, score in part.ranking.by_timestep.items()},
        "retrieval": nearest.score.to_dict(),
        "retrieval_psnr_db": nearest.psnr,
        "recogniser": {
            "real": on_real.to_dict() if on_real else None,
            "real_trained_on": sum(row in found.training for row in part.rows) / len(part.rows),
            "generated": made.to_dict() if made else None,
            "share_of_ceiling": made.accuracy / ceiling if made and ceiling else None,
        },
        "prompt_distance": distance.to_dict() if distance else None,
        "motion": measure_motion(part.generated, part.captions, real, texts).to_dict(),
    }, answers


def _controls(loaded: LoadedModel, part: Part, data: TextToSignDataset, found: Judgement) -> list[Control]:
    """What must fail on this part: asking for other captions, and generating without any.

    A clip whose sign no other caption leaves out is not dealt anew; where that is so of all, that control is left out.
    """
    seed = loaded.config.SEED
    controls = [Control("shuffled captions", "prompt ranking", part.name, part.ranking.with_other_captions(seed))]
    requests = [Request(caption, seed) for caption in sorted(set(part.captions))]
    textless = _generate(loaded.with_settings(GUIDANCE_SCALE=0.0), requests)
    dealt = zip(part.generated, redealt(part.captions, data.texts, seed), strict=True)
    for name, asked_for in (
        ("shuffled captions", [(clip, caption) for clip, caption in dealt if caption is not None]),
        ("no text (guidance 0)", [(clip.frames, clip.facts.prompt) for clip in textless]),
    ):
        clips, captions = [clip for clip, _ in asked_for], [caption for _, caption in asked_for]
        made = judged(found.judge, clips, captions)[0] if clips else None
        if made:
            controls.append(Control(name, "recogniser on generated clips", part.name, made))
    return controls


def _pairs(part: Part, data: TextToSignDataset, found: Judgement, answers: list[list[str]]) -> list[ClipPair]:
    """For the page: each caption's real clips beside the generated ones and what the judge called these, if it knows
    the signs that were asked for."""
    pairs = []
    for caption in sorted(set(part.captions)):
        signs = asked(caption).signs
        own = [i for i, text in enumerate(part.captions) if text == caption]
        real = [data.frames(row) for row in part.rows if data.texts[row] == caption][:1]
        pairs.append(
            ClipPair(
                caption=caption,
                part=part.name,
                real=real,
                generated=[part.clips[i] for i in own],
                named=[" ".join(answers[i]) for i in own] if set(signs) <= set(found.judge.names) else [],
                sign=" ".join(signs),
            )
        )
    return pairs
