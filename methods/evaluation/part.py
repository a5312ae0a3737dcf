"""The clips that an evaluation looks at, in parts: trained on and held out, each with what was generated for it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from tqdm import tqdm

from dataset import TextToSignDataset, data_identity, parts_of
from methods.evaluation.judge import Judgement
from methods.evaluation.likeness.order import Ladder, ladders
from methods.evaluation.ranking import Ranking, candidates, prompt_ranking
from methods.sampling.generate import GeneratedClip, generate
from methods.sampling.loading import LoadedModel
from methods.sampling.provenance import Request
from utils import runtime
from utils.checkpoints.file import same_clips
from utils.split import SplitError, without_copies

TRAIN, HELD_OUT, CLIPS = "train", "held_out", "clips"  # the parts; the last where it is not known which were trained on


@dataclass(frozen=True)
class Part:
    """Some real clips and what was generated for their captions: all that a measure or a control may look at."""

    name: str
    loaded: LoadedModel
    data: TextToSignDataset
    rows: list[int]  # of the data
    ranking: Ranking
    clips: list[GeneratedClip]  # one of every caption, then another of every caption, ...
    judgement: Judgement

    @cached_property
    def real(self) -> list[np.ndarray]:
        """(F, H, W, 3) uint8 each, as all clips."""
        return [self.data.frames(row) for row in self.rows]

    @property
    def texts(self) -> list[str]:
        """One a real clip."""
        return [self.data.texts[row] for row in self.rows]

    @property
    def generated(self) -> list[np.ndarray]:
        return [clip.frames for clip in self.clips]

    @property
    def captions(self) -> list[str]:
        """One a generated clip."""
        return [clip.facts.prompt for clip in self.clips]

    @cached_property
    def ladders(self) -> list[tuple[int, Ladder]]:
        """Real clips made worse, step by step, each with its index among ``real``."""
        return ladders(self.real, self.texts, seed=self.loaded.config.SEED)

    @cached_property
    def answers(self) -> list[list[str]]:
        """The signs that the judge names in each generated clip."""
        return self.judgement.judge.name_signs(self.generated, self.captions)


def make_part(
    loaded: LoadedModel, data: TextToSignDataset, name: str, rows: list[int], *, copies: int, judgement: Judgement
) -> Part:
    """The part of the real clips ``rows``: they are ranked, and ``copies`` clips of each of their captions made."""
    ranking = prompt_ranking(loaded, data, rows, candidates(data, rows, loaded.config.SEED))
    captions = sorted({data.texts[row] for row in rows})
    clips = generated(
        loaded, [Request(text, loaded.config.SEED, index) for index in range(copies) for text in captions]
    )
    return Part(name, loaded, data, rows, ranking, clips, judgement)


def generated(loaded: LoadedModel, requests: list[Request]) -> list[GeneratedClip]:
    """``generate`` with a bar, each clip one file, which a page can show."""
    loaded = loaded.with_settings(CLIP_FORMAT="webp") if loaded.form == "frames" else loaded
    total = len(requests) * loaded.config.INFERENCE_TIMESTEPS
    with tqdm(total=total, desc="generating", unit="clip step", dynamic_ncols=True) as bar:
        return generate(loaded, requests, on_step=bar.update)


def rows_by_part(loaded: LoadedModel, data: TextToSignDataset) -> dict[str, list[int]]:
    """Rows to judge, without copies: trained on and held out, if these are the clips of the checkpoint's training.

    Where they are not, or the split is not known any more, that is said, and all clips are one part.
    """
    others = {CLIPS: without_copies(data.names, list(range(len(data))), copies=data.copies)}
    try:
        found = parts_of(loaded.config, data)
    except SplitError as error:
        print(f"note: all clips are judged as one part, trained on or not: {error}", file=sys.stderr)
        return others
    if not same_clips(data_identity(data, found.training), loaded.training_data):
        print("note: these are not the clips that the model was trained on, so they are one part", file=sys.stderr)
        return others
    parts = {TRAIN: without_copies(data.names, found.training, copies=data.copies), HELD_OUT: found.held_out}
    return {name: rows for name, rows in parts.items() if rows}


def rows_of_judge(
    loaded: LoadedModel, data: TextToSignDataset, rows: dict[str, list[int]]
) -> tuple[list[int], list[int]]:
    """(training, held-out) rows of the recogniser: those of the model, or all clips where these are unknown."""
    if CLIPS in rows:
        return list(range(len(data))), []
    found = parts_of(loaded.config, data)
    return found.training, found.held_out


def some(rows: list[int], name: str, *, at_most: int, seed: int) -> list[int]:
    """The part's clips that are looked at, a function of the seed."""
    order = torch.randperm(len(rows), generator=runtime.generator(seed, "evaluation", name)).tolist()
    return sorted(rows[i] for i in order[:at_most])
