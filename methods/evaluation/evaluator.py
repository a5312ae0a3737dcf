"""Does the model obey the text, and is the motion alive? Every score with its chance, and controls that must fail.

Clips that were trained on and held-out ones are a part each (``part.py``). Of each part every one of MEASURES is taken,
and every control of ``controls.py``. All are needed: ranking can be perfect while samples are garbage, and a sample can
be right while it does not move. A new measure is a function of a part in a file of its own, a line of MEASURES, and the
rows of ``measures.py`` that tell its results.

    python main.py evaluate --checkpoint checkpoints/demo/latest_checkpoint.pt
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from config import VERSION, UserError
from dataset import TextToSignDataset
from methods.evaluation.controls import controls_of, denoising, refuse_untrained
from methods.evaluation.files import write_evaluation
from methods.evaluation.judge import NETWORK, STEPS, Judgement, train_judge
from methods.evaluation.likeness.frechet import load_network, measure_frechet
from methods.evaluation.likeness.hands import measure_hands, order_of_hands
from methods.evaluation.likeness.order import measure_order
from methods.evaluation.likeness.translation import check_translator, measure_translation
from methods.evaluation.likeness.variety import measure_variety
from methods.evaluation.motion import measure_motion
from methods.evaluation.page import ClipPair
from methods.evaluation.part import Part, make_part, rows_to_judge, some
from methods.evaluation.pixels import prompt_distance, score_retrieval
from methods.evaluation.reading.measure import measure_reading
from methods.evaluation.reading.reader import Reader, train_reader
from methods.sampling.loading import LoadedModel, sampling_settings
from methods.sampling.provenance import path_text
from utils.captions import asked
from utils.reading import pose
from utils.split import without_copies

FORMAT = 3  # of evaluation.json
Measure = Callable[[Part], dict[str, object]]


class EvaluationError(UserError):
    """The data cannot show whether the text is obeyed, or the report has no place."""


def ranked(part: Part) -> dict[str, object]:
    """Is a real clip's denoising error lowest under its own caption?"""
    return part.ranking.to_dict()


def retrieved(part: Part) -> dict[str, object]:
    """Is the real clip nearest to a generated one, in pixels, one of the asked caption?"""
    score, psnr = score_retrieval(part.generated, part.captions, part.data, part.rows)
    return {"retrieval": score.to_dict(), "retrieval_psnr_db": psnr}


def recognised(part: Part) -> dict[str, object]:
    """Does a judge that knows real clips alone name in generated ones the signs that were asked for?

    The ceiling is for clips that it never saw: of those that it learnt from, it knows more.
    """
    found, judge = part.judgement, part.judgement.judge
    real = judge.score(judge.name_signs(part.real, part.texts), part.texts)
    made = judge.score(part.answers, part.captions)
    ceiling = found.ceiling.accuracy if found.ceiling and found.training.isdisjoint(part.rows) else 0.0
    scores = {
        "real": real.to_dict() if real else None,
        "real_trained_on": sum(row in found.training for row in part.rows) / len(part.rows),
        "generated": made.to_dict() if made else None,
        "share_of_ceiling": made.accuracy / ceiling if made and ceiling else None,
    }
    return {"recogniser": scores}


def told_apart(part: Part) -> dict[str, object]:
    """Do two prompts differ by more than two noises under one prompt?"""
    return {"prompt_distance": prompt_distance(part.generated, part.captions)}


def moving(part: Part) -> dict[str, object]:
    """Do generated clips move as far, and as smoothly, as real ones?"""
    return {"motion": measure_motion(part.generated, part.captions, part.real, part.texts)}


def decoded(part: Part) -> dict[str, object]:
    """What do real clips lose on their way through the autoencoder, which generated ones cannot do without?"""
    return {"autoencoder": measure_motion(part.decoded, part.texts, part.real, part.texts) if part.decoded else None}


def varied(part: Part) -> dict[str, object]:
    """Where a caption has several real clips: do generated ones differ as much, and cover them?"""
    judge = part.judgement.judge
    clips = (part.generated, part.captions), (part.real, part.texts)
    if len(set(part.texts)) == len(part.texts):
        return {"variety": None}
    return {"variety": measure_variety(*clips[0], *clips[1], features=tuple(judge.features(*each) for each in clips))}


def handed(part: Part) -> dict[str, object]:
    """Are there hands where real clips have them? None without MediaPipe, and where no real clip shows a hand."""
    num = len(set(part.captions))  # the first clip of every caption: a detector takes its time
    if not pose.is_installed():
        return {"hands": None, "hands_order": None}
    made = part.generated[:num], part.captions[:num]
    found = measure_hands(
        *made, part.real, part.texts, ladders=part.ladders, find=pose.find_hands, decoded=part.decoded
    )
    return {"hands": found, "hands_order": order_of_hands(found) if found else None}


def ordered(part: Part) -> dict[str, object]:
    """Can measures of clips tell good from bad on this data?"""
    return {"order": measure_order(part.ladders)}


def fvd_with(weights: Path) -> Measure:
    """Are generated clips distributed as real ones, to the network in the file ``weights``?

    Raises:
        FrechetError: it holds none.
    """
    network = load_network(weights)
    return lambda part: {"fvd": measure_frechet(part.generated, part.real, network)}


def translated_by(command: str) -> Measure:
    """Does the translator ``command`` read in generated clips what was asked for?

    Raises:
        TranslatorError: it cannot be used.
    """
    words = check_translator(command)
    return lambda part: {"back_translation": measure_translation(words, part.clips, part.real, part.texts)}


MEASURES: tuple[Measure, ...] = (
    ranked, retrieved, recognised, measure_reading, told_apart, moving, decoded, varied, handed, ordered
)  # fmt: skip
"""Part -> entries of its report, plain JSON types."""


def evaluate(
    loaded: LoadedModel,
    data: TextToSignDataset,
    *,
    folder: Path,
    only: str | None = None,
    max_clips: int = 64,
    clips_per_caption: int = 4,
    blind: LoadedModel | None = None,
    command: str | None = None,
    recogniser: str = NETWORK,
    recogniser_steps: int = STEPS,
    extras: Sequence[Measure] = (),
) -> dict[str, object]:
    """Everything, on at most ``max_clips`` clips of each part; writes JSON, a page, a contact sheet and the clips.

    ``only``: one part, which alone may be the one for test; None: those trained on and held out.
    ``blind``: a model trained with SHUFFLE_CAPTIONS, one more control. ``command``: what the page says made it.
    ``recogniser``: the judge's network, a name of timm's. ``extras``: more measures, for what the user gives.

    Raises:
        EvaluationError: fewer than two captions, so that nothing could be confused; ``folder`` cannot be made.
        UntrainedError: a model was trained too little for its scores to mean anything. Nothing is written then.
        NetworkError: timm has no such ``recogniser``.
        SplitError: the data have no clips of the ``only`` part.
    """
    rows, seed = rows_to_judge(loaded, data, only), loaded.config.SEED
    if len({data.texts[row] for part in rows.parts.values() for row in part}) < 2:
        raise EvaluationError(f"{data.folder} has one caption, {data.texts[0]!r}; ranking needs at least 2.")
    training = without_copies(data.names, rows.training, copies=data.copies)
    levels = denoising(loaded, data, training)
    share = refuse_untrained(loaded, levels)
    blind_share = refuse_untrained(blind, denoising(blind, data, training)) if blind else None
    _make(folder)  # before hours of computing, not after
    learn = {"seed": seed, "num_steps": recogniser_steps, "network": recogniser}
    judgement = train_judge(data, rows.training, rows.unseen, **learn)
    reader = None if loaded.config.FRAME_RATE else train_reader(data, rows.training, **learn)
    reports: dict[str, dict[str, object]] = {}
    controls: list[dict[str, object]] = []
    pairs: list[ClipPair] = []
    for name, all_rows in rows.parts.items():
        chosen = some(all_rows, name, at_most=max_clips, seed=seed)
        part = make_part(loaded, data, name, chosen, copies=clips_per_caption, judgement=judgement, reader=reader)
        reports[name] = {"num_clips": len(part.rows), "num_captions": len(set(part.texts))}
        for measure in (*MEASURES, *extras):
            reports[name] |= measure(part)
        controls += controls_of(part, blind)
        pairs += _pairs(part)
    report = {
        **_of_model(loaded, share),
        **_head(loaded, data, judgement, reader),
        "blind": _of_model(blind, blind_share) if blind else None,
        "max_clips": max_clips,
        "clips_per_caption": clips_per_caption,
        "recogniser_steps": recogniser_steps,
        "denoising": {str(t): asdict(level) for t, level in levels.items()},
        "parts": reports,
        "controls": controls,
    }
    write_evaluation(folder, report, pairs, command=command)
    return report


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvaluationError(f"{folder} cannot be a folder ({error.strerror}). Use another --output") from error


def _head(loaded: LoadedModel, data: TextToSignDataset, found: Judgement, reader: Reader | None) -> dict[str, object]:
    """On what, how, and by which recogniser and reader."""
    return {
        "format": FORMAT,
        "pose_extra": pose.is_installed(),
        "version": VERSION,
        "data": path_text(data.folder),
        "seed": loaded.config.SEED,
        "weights": "averaged",
        "sampling": sampling_settings(loaded.config),
        "recogniser": {
            "network": found.judge.network_name,
            "num_steps": found.judge.num_steps,
            "num_signs": len(found.judge.names),
            "num_training_signs": found.judge.num_training_signs,
            "crop": "hand" if found.judge.crop else "whole picture",
            "ceiling": found.ceiling.to_dict() if found.ceiling else None,
            "ceiling_of": found.ceiling_of,
        },
        "reader": {"num_steps": reader.num_steps, "num_signs": len(reader.names)} if reader else None,
    }


def _of_model(loaded: LoadedModel, share: float) -> dict[str, object]:
    """Which checkpoint, and the ``share`` of initial weights in its averaged ones."""
    found = {"checkpoint": path_text(loaded.path), "checkpoint_sha256": loaded.sha256, "step": loaded.step}
    return {**found, "averaged_weights_initial_share": share}


def _pairs(part: Part) -> list[ClipPair]:
    """For the page: the first real clip of each caption beside the generated ones, and what the judge called these if
    it knows the signs that were asked for."""
    pairs = []
    for caption in sorted(set(part.captions)):
        own = [i for i, text in enumerate(part.captions) if text == caption]
        pairs.append(
            ClipPair(
                caption=caption,
                part=part.name,
                real=part.real[part.texts.index(caption)],
                generated=[part.clips[i] for i in own],
                named=[" ".join(part.answers[i]) for i in own] if part.judgement.judge.knows(caption) else [],
                sign=" ".join(asked(caption).signs),
            )
        )
    return pairs
