"""Whether an evaluation may be believed: models that are not trained are refused, and controls that must fail.

Refused are averaged weights that are mostly the initial ones, and a model that knows less of a noisy clip than the mean
clip says: scores of either would say nothing about training.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from config import UserError
from dataset import TextToSignDataset
from methods.evaluation.denoising import LinearEstimate, measure_levels
from methods.evaluation.part import Part, generated
from methods.evaluation.ranking import candidates, prompt_ranking
from methods.evaluation.reading.measure import wanted
from methods.evaluation.scores import Score
from methods.sampling.loading import LoadedModel
from methods.sampling.provenance import Request
from schedulers.training_schedules import ema_initial_share
from utils import runtime
from utils.captions import asked

MAX_INITIAL_SHARE = 0.5  # of the averaged weights
PROBED = 8  # clips
WORSE_THAN_MEAN = 1.05  # times the error of the mean clip, at the noisiest level
NOTHING_LEARNT = 0.95  # times that error, at the best level


class UntrainedError(UserError):
    """The model was trained too little for its scores to mean anything."""


def control(name: str, measure: str, part: str, score: Score) -> dict[str, object]:
    """A measure where it must not succeed, as plain JSON types.

    ``failed`` says that it did not, as it should: it is not above what guessing reaches in 95 % of cases.
    """
    failed = score.accuracy <= score.chance_interval()[1]
    return {"name": name, "measure": measure, "part": part, "score": score.to_dict(), "failed": failed}


@dataclass(frozen=True)
class Denoising:
    """At one timestep: mean squared errors of x_0, in units of that of the mean clip over all training clips."""

    snr_db: float
    error: float  # of the network
    refined_error: float  # of the same with what x_t knows better
    mean_clip_error: float  # of the same clips, so near 1
    linear_error: float  # of the best linear estimate (denoising.py)
    doing_nothing: float  # of x_t, scaled back


def denoising(loaded: LoadedModel, data: TextToSignDataset, indices: list[int]) -> dict[int, Denoising]:
    """By timestep, over the first PROBED of ``indices`` under their own captions."""
    model, rows = loaded.model, indices[:PROBED]
    linear = LinearEstimate(model, data, indices)
    unit = linear.error(0.0)
    baseline = float(linear.around_mean(rows).square().mean())
    found = measure_levels(model, loaded.encoder, data, rows, seed=loaded.config.SEED, batch_size=loaded.batch_size)
    return {
        level.t: Denoising(
            level.decibels,
            level.x_0_error / unit,
            level.refined_error / unit,
            baseline / unit,
            linear.error(level.snr) / unit,
            level.doing_nothing / unit,
        )
        for level in found
    }


def refuse_untrained(loaded: LoadedModel, by_timestep: dict[int, Denoising]) -> float:
    """The share of initial weights in the averaged ones, if the model may be evaluated.

    Raises:
        UntrainedError: says what was found and what to do.
    """
    share, who = ema_initial_share(loaded.config, loaded.step), f"{loaded.path} at step {loaded.step:,}"
    if share > MAX_INITIAL_SHARE:
        raise UntrainedError(
            f"{who}: its averaged weights are still {share:.0%} initial ones, so no "
            f"score of them would mean anything. Train longer, or with a smaller EMA_DECAY (now "
            f"{loaded.config.EMA_DECAY:g}, every {loaded.config.EMA_EVERY} steps)."
        )
    noisiest = max(by_timestep)
    found = by_timestep[noisiest]
    if not found.error <= WORSE_THAN_MEAN * found.mean_clip_error:
        raise UntrainedError(
            f"{loaded.path} at step {loaded.step:,}: at t={noisiest}, where sampling begins, its error is "
            f"{found.error:.3g}; the mean clip alone has {found.mean_clip_error:.3g}. Its clips would be noise. Train "
            "longer, or with PREDICTION_TYPE=sample and a larger NOISE_SHIFT."
        )
    best = min(by_timestep.values(), key=lambda level: level.error)
    if not best.error <= NOTHING_LEARNT * best.mean_clip_error:
        raise UntrainedError(
            f"{who} has learnt nothing yet: its error is {best.error:.3g} at best, "
            f"that of the mean clip {best.mean_clip_error:.3g}. Train longer."
        )
    return share


def controls_of(part: Part, blind: LoadedModel | None) -> list[dict[str, object]]:
    """What must fail on this part: asking for other captions, generating without any, and a text-blind model.

    A clip whose sign no other caption leaves out is not dealt anew; where that is so of all, that control is left out.
    """
    seed, judge = part.loaded.config.SEED, part.judgement.judge
    controls = [control("shuffled captions", "prompt ranking", part.name, part.ranking.with_other_captions(seed))]
    dealt = zip(part.generated, redealt(part.captions, part.data.texts, seed), strict=True)
    requests = [Request(caption, seed) for caption in sorted(set(part.captions))]
    textless = generated(part.loaded.with_settings(GUIDANCE_SCALE=0.0), requests)
    for name, asked_for in (
        ("shuffled captions", [(clip, caption) for clip, caption in dealt if caption is not None]),
        ("no text (guidance 0)", [(clip.frames, clip.facts.prompt) for clip in textless]),
    ):
        clips, captions = [clip for clip, _ in asked_for], [caption for _, caption in asked_for]
        if clips and (score := judge.score(judge.name_signs(clips, captions), captions)):
            controls.append(control(name, "recogniser on generated clips", part.name, score))
        if clips and part.reader:
            read = [part.reader.read(clip) for clip in clips]
            controls += _reading_control(part, name, read, wanted(part, captions))
    turned = [(*signs[1:], *signs[:1]) for signs in wanted(part, part.captions)]
    controls += _reading_control(part, "words permuted", part.readings, turned) if part.reader else []
    if blind:
        ranking = prompt_ranking(blind, part.data, part.rows, candidates(part.data, part.rows, seed))
        controls.append(control("text-blind model", "prompt ranking", part.name, ranking.score))
    return controls


def _reading_control(
    part: Part, name: str, read: list[list[str]], signs: list[tuple[str, ...]]
) -> list[dict[str, object]]:
    """Of the clips of several signs, not all the same; none where there are none."""
    pairs = [(one, other) for one, other in zip(read, signs, strict=True) if len(set(other)) > 1]
    score = part.reader.in_order(*zip(*pairs, strict=True)) if part.reader and pairs else None
    return [control(name, "reading of generated clips", part.name, score)] if score else []


def redealt(captions: list[str], among: list[str], seed: int) -> list[str | None]:
    """For each caption another of ``among`` that asks for as many signs and none of the same at any place, or None."""
    draw = runtime.generator(seed, "shuffled captions")
    distinct, found = {caption: asked(caption).signs for caption in sorted(set(among))}, []
    for caption in captions:
        own = asked(caption).signs
        others = [
            other
            for other, signs in distinct.items()
            if len(signs) == len(own) and all(a != b for a, b in zip(signs, own, strict=True))
        ]
        found.append(others[int(torch.randint(len(others), (1,), generator=draw))] if others else None)
    return found
