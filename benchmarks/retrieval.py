"""Generate clips and look for the nearest real ones, as several benchmarks do between two trainings."""

from __future__ import annotations

from dataset import TextToSignDataset
from methods.evaluation.pixels import score_retrieval
from methods.evaluation.scores import Score
from methods.sampling.generate import generate
from methods.sampling.loading import LoadedModel
from methods.sampling.provenance import Request


def retrieval(loaded: LoadedModel, data: TextToSignDataset) -> tuple[Score, float]:
    """The score and the mean PSNR in dB of one clip for each caption of the data, among all its clips."""
    captions = sorted(set(data.texts))
    clips = generate(loaded, [Request(caption, loaded.config.SEED) for caption in captions])
    return score_retrieval([clip.frames for clip in clips], captions, data, list(range(len(data))))
