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
from methods.evaluation.measures import PART_NAMES
from methods.evaluation.ranking import Ranking, candidates, prompt_ranking
from methods.evaluation.reading.reader import Reader
from methods.sampling.generate import GeneratedClip, generate
from methods.sampling.loading import LoadedModel
from methods.sampling.provenance import Request
from utils import runtime
from utils.checkpoints.file import same_clips
from utils.split import Parts, SplitError, without_copies

TRAIN, HELD_OUT, TEST = "train", "held_out", "test"
CLIPS = "clips"  # the part where it is not known which were trained on
PARTS = {"train": TRAIN, "validation": HELD_OUT, "test": TEST}  # by what the data call them


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
    reader: Reader | None = None  # where the data tell which signs a clip has, and when

    @cached_property
    def real(self) -> list[np.ndarray]:
        """(F, H, W, 3) uint8 each, as all clips."""
        return [self.data.frames(row) for row in self.rows]

    @cached_property
    def decoded(self) -> list[np.ndarray]:
        """The real clips through the model's autoencoder and back; none where it works in pixels."""
        return [] if self.loaded.model.autoencoder is None else [self.loaded.decoded(clip) for clip in self.real]

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

    @cached_property
    def readings(self) -> list[list[str]]:
        """The signs that the reader finds in each generated clip; none where there is no reader."""
        return [self.reader.read(clip) for clip in self.generated] if self.reader else []


@dataclass(frozen=True)
class Rows:
    """Of the data: those to judge by part, without copies; those that the recogniser learns, and those it must not."""

    parts: dict[str, list[int]]
    training: list[int]
    unseen: list[int]


def make_part(
    loaded: LoadedModel,
    data: TextToSignDataset,
    name: str,
    rows: list[int],
    *,
    copies: int,
    judgement: Judgement,
    reader: Reader | None = None,
) -> Part:
    """The part of the real clips ``rows``: they are ranked, and ``copies`` clips of each of their captions made."""
    ranking = prompt_ranking(loaded, data, rows, candidates(data, rows, loaded.config.SEED))
    captions = sorted({data.texts[row] for row in rows})
    clips = generated(
        loaded, [Request(text, loaded.config.SEED, index) for index in range(copies) for text in captions]
    )
    return Part(name, loaded, data, rows, ranking, clips, judgement, reader)


def generated(loaded: LoadedModel, requests: list[Request]) -> list[GeneratedClip]:
    """``generate`` with a bar, each clip one file, which a page can show."""
    loaded = loaded.with_settings(CLIP_FORMAT="webp") if loaded.form == "frames" else loaded
    total = len(requests) * loaded.config.INFERENCE_TIMESTEPS
    with tqdm(total=total, desc="generating", unit="clip step", dynamic_ncols=True) as bar:
        return generate(loaded, requests, on_step=bar.update)


def rows_to_judge(loaded: LoadedModel, data: TextToSignDataset, only: str | None = None) -> Rows:
    """Of the clips of the checkpoint's training those trained on and those held out, or the ``only`` part of PARTS.

    Where they are other clips, or the split is not known any more, that is said, and all that are not for test are one
    part.

    Raises:
        SplitError: there are no clips of the ``only`` part, or none but those for test.
    """
    test = [i for i, row in enumerate(data.rows) if row.split == "test"]
    found = _split_of_training(loaded, data)
    if found:
        parts = {TRAIN: found.training, HELD_OUT: found.held_out, TEST: test}
        training, unseen = found.training, found.held_out
    else:
        contents = {data.content(i) for i in test}
        parts = {CLIPS: [i for i in range(len(data)) if data.content(i) not in contents], TEST: test}
        training, unseen = parts[CLIPS] or test, []
    if only == TEST and training != test:
        unseen = test
    names = [only] if only else [name for name in parts if name != TEST]
    judged = {name: without_copies(data.names, parts[name], copies=data.copies) for name in names if parts.get(name)}
    if not judged:
        raise SplitError(_no_clips(data, only))
    return Rows(judged, training, unseen)


def _split_of_training(loaded: LoadedModel, data: TextToSignDataset) -> Parts | None:
    """None, and a line, where the clips are not known to be those of the checkpoint's training."""
    try:
        found = parts_of(loaded.config, data)
        if same_clips(data_identity(data, found.training), loaded.training_data):
            return found
        reason: object = "these are not the clips that the model was trained on"
    except SplitError as error:
        reason = error
    print(f"note: it is not known which clips were trained on, so they are one part: {reason}", file=sys.stderr)
    return None


def _no_clips(data: TextToSignDataset, only: str | None) -> str:
    if only is None:
        return f"{data.folder} has clips for test alone. Judge these: --split test"
    if only == TEST:
        return f"{data.folder} has no test clips; wanted some that its list names as test. Leave --split out."
    return f"No clip of {data.folder} is known as {PART_NAMES[only]}. Leave --split out."


def some(rows: list[int], name: str, *, at_most: int, seed: int) -> list[int]:
    """The part's clips that are looked at, a function of the seed."""
    order = torch.randperm(len(rows), generator=runtime.generator(seed, "evaluation", name)).tolist()
    return sorted(rows[i] for i in order[:at_most])
