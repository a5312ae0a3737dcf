"""Clips of the same captions from the same noise again and again, so that a sign is seen to grow."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from config import Config
from dataset import TextToSignDataset
from methods.evaluation.motion import measure_motion
from methods.sampling.generate import generate
from methods.sampling.loading import LoadedModel
from methods.sampling.provenance import Request, file_name
from utils.captions import short_titles
from utils.contact_sheet import contact_sheet

MAX_TITLE = 24  # characters of a caption: what a card of TensorBoard shows


def folder(config: Config) -> Path:
    """Where the GIFs of the experiment's previews lie."""
    return Path(config.SAMPLE_DIR) / config.EXPERIMENT_NAME / "previews"


def preview(
    loaded: LoadedModel, data: TextToSignDataset, indices: list[int], *, write: bool = True
) -> tuple[dict[str, np.ndarray], dict[str, float | None]]:
    """Make a clip for each of the first NUM_PREVIEWS captions of the clips ``indices``, and ``write`` it as ``sample``.

    Returns title -> (F, height, width, 3) uint8: the generated clip beside the first real one of its caption; and their
    figures of motion (``measure_motion``).
    """
    config = loaded.config
    first = {text: i for i, text in reversed([(i, data.texts[i]) for i in indices])}
    texts = list(dict.fromkeys(data.texts[i] for i in indices))[: config.NUM_PREVIEWS]
    clips = generate(loaded, [Request(text, config.SEED) for text in texts])
    for clip in clips if write else []:
        clip.write(folder(config) / file_name(clip.facts))
    titles = [f"{number}_{title[:MAX_TITLE]}" for number, title in enumerate(short_titles(texts), start=1)]
    real, made = [data.frames(first[text]) for text in texts], [clip.frames for clip in clips]
    shown = [beside(*pair) for pair in zip(real, made, strict=True)]
    return dict(zip(titles, shown, strict=True)), measure_motion(made, texts, real, texts)


def beside(real: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """Two clips (F, H, W, 3) uint8 as one, enlarged, with their names above."""
    pairs = [[real[i : i + 1], generated[i : i + 1]] for i in range(len(real))]
    return np.stack([np.asarray(contact_sheet([("", pair)], ["real", "generated"])) for pair in pairs])
