"""What training needs, checked on real objects: clips, text encoder, first weights, a few optimiser steps, the text.

``verify_training_ready.py`` runs these in order. The steps are real, as many as the model needs: a fresh one starts at
zero by design (adaLN-Zero), so its first step teaches the output layer alone, the second opens the gates, and the third
reaches everything behind them. Filling the zeros by hand would spare two steps and hide a gate that can never open.

What is spared instead is frames: three, or three tubelets in time. Nothing that is checked here depends on the length
of a clip; how much memory and time a whole one takes does. Not two frames: oneDNN's bfloat16 gradient of a convolution
over time is wrong there (torch 2.15 on a CPU: not finite, or off by as much as its own size).
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from config import Config, UserError, model_keys
from dataset import TextToSignDataset, load_dataset, parts_of
from diffusion.motion_weight import moving
from diffusion.text2sign import Text2Sign, TrainingNoise, training_noise
from methods.ledger import REASONS
from methods.training.optimisation import make_optimizer
from methods.training.step import Piece, TrainingStep
from methods.training.warm_start import freeze_backbone
from models.text_encoder import TextEncoder
from models.text_features import TextFeatures

MAX_STEPS = 20  # optimiser steps; also room for those that fp16's scaler skips on purpose
MAX_IDLE_STEPS = 2  # in a row, without a gradient in any further tensor: what has none by then gets none
STATISTICS_CLIPS = 256  # at most; training measures its clip and text statistics over all of them
NUM_MOMENTS = 3  # frames, or tubelets in time, of the shortened clip
FLAT = 1e-6  # a share of the largest value, or of the deviation, that is rounding
FACTOR = 10  # how much more another caption must change than the same caption again
SCALE = 2.0**16  # of a loss whose gradient half precision shall hold
NAMED = 3  # so many files or tensors are named in an error, the others are counted
OTHER_CAPTION = "quite another sentence"


class CheckError(UserError):
    """A check failed: what was found, what was wanted, what to do."""


@dataclass(frozen=True)
class Example:
    """What the steps are taken on, on the model's device.

    ``video`` (1, 3, F, H, W) in [-1, 1]; ``text`` and ``other``: raw features of two different captions, one row and
    equally many tokens each; ``seed`` of the noise.
    """

    video: Tensor
    text: TextFeatures
    other: TextFeatures
    seed: int

    def noise(self, model: Text2Sign, step: int) -> TrainingNoise:
        """What training would draw at ``step``, but for the caption, which is never dropped."""
        shape, num_steps = model.clip_shape, model.schedule.num_steps
        noise = training_noise(self.seed, step, num_clips=1, shape=shape, num_steps=num_steps, caption_dropout=0.0)
        return noise.to(self.video.device)


@dataclass(frozen=True)
class Steps:
    """What optimiser steps have shown: their losses, and the trainable tensors that had a gradient in none of them."""

    losses: list[float]
    num_trainable: int  # tensors
    silent: list[str]


# ---- What must be there ----------------------------------------------------------------------------------------------


def read_clips(config: Config) -> tuple[TextToSignDataset, list[int]]:
    """The data and the indices of the clips to train on; published sets list clips that are gone, and have others.

    Raises:
        UserError: no folder, no clips, or a clip that is there, is listed and cannot be used.
    """
    data = load_dataset(dataclasses.replace(config, CACHE_DIR=""))  # it writes no file
    unusable = [problem.text for problem in data.problems if problem.kind not in ("missing", "unlisted")]
    if unusable:
        raise CheckError(
            f"DATA_DIR={config.DATA_DIR}: {len(unusable)} unusable, wanted none: {_some(unusable)}. "
            "Mend or remove what is named (training itself would name it and leave it out)."
        )
    return data, parts_of(config, data).training


def left_out(data: TextToSignDataset) -> str:
    """How many clips are listed and missing, or unlisted, and the first of them; empty where there are none."""
    counts = Counter(problem.kind for problem in data.problems)
    told = ", ".join(f"{number} {REASONS[kind]}" for kind, number in counts.items())
    return f"{told}, such as {data.problems[0].text}" if told else ""


def check_frozen(encoder: TextEncoder) -> int:
    """The number of parameters of the text encoder.

    Raises:
        CheckError: one of them would be trained, or its dropout is on.
    """
    trainable = [name for name, p in encoder.model.named_parameters() if p.requires_grad]
    if trainable or encoder.model.training:
        found = f"trainable: {_some(trainable)}" if trainable else "it is in training mode"
        raise CheckError(
            f"TEXT_ENCODER={encoder.name} is not frozen ({found}); wanted it as published, since its features are "
            "kept per caption. TextEncoder in models/text_encoder.py freezes it: undo what changed that."
        )
    return sum(p.numel() for p in encoder.model.parameters())


def shortened(config: Config) -> Config:
    """``config`` with fewer frames: three of what its architecture counts them in, single frames or tubelets."""
    in_tubelets = "TUBELET_FRAMES" in model_keys(config.MODEL_ARCHITECTURE)
    most = NUM_MOMENTS * (config.TUBELET_FRAMES if in_tubelets else 1)
    return dataclasses.replace(config, NUM_FRAMES=min(config.NUM_FRAMES, most))


def make_example(
    config: Config, data: TextToSignDataset, rows: list[int], encoder: TextEncoder, device: torch.device
) -> Example:
    """The first NUM_FRAMES frames of the first of ``rows``, its caption, and another caption of the data.

    The longer caption's last tokens are cut: were their numbers different, rounding alone could tell the two apart.
    """
    captions = list(dict.fromkeys(data.texts[row] for row in rows))
    # Where all captions are one, its standardised features are zero and could not show whether text gets through.
    own, other = (captions[0], captions[1]) if len(captions) > 1 else (OTHER_CAPTION, captions[0])
    video = data.videos(rows[:1])[:, :, : config.NUM_FRAMES].to(device)
    both = encoder.encode([own, other])
    length = int(both.mask.sum(1).min())
    both = TextFeatures(both.tokens[:, :length], both.mask[:, :length], both.pooled).to(device)
    return Example(video, both[:1], both[1:], config.SEED)


# ---- What must work --------------------------------------------------------------------------------------------------


@torch.no_grad()
def predict(model: Text2Sign, example: Example, text: TextFeatures) -> Tensor:
    """The output for the example's clip with the noise of step 0; (1, 3, F, H, W) float32."""
    noise = example.noise(model, 0)
    return model.eval().noise_and_predict(example.video, model.text(text), noise.eps, noise.t)[2]


def check_output(output: Tensor, *, when: str, cure: str) -> float:
    """The deviation of ``output`` (1, 3, F, H, W), which was made ``when``.

    Raises:
        CheckError: it is not finite, zero everywhere, or constant.
    """
    if not bool(output.isfinite().all()):
        raise CheckError(f"{when} the output is not finite; wanted numbers. {UNSTABLE}")
    largest, deviation = float(output.abs().max()), float(output.flatten(2).std(2).max())  # of a colour
    if largest == 0 or deviation < FLAT * largest:
        found = f"the same everywhere ({float(output.flatten()[0]):.3g})" if largest else "zero everywhere"
        raise CheckError(f"{when} the output is {found}; wanted a picture. {cure}")
    return deviation


def take_steps(model: Text2Sign, example: Example, config: Config) -> Steps:
    """Optimiser steps as in training, until every trainable tensor has had a gradient or no further one gets any.

    At the full LEARNING_RATE, without warm-up, so that what a step moves is more than rounding.

    Raises:
        TrainingError: nothing is left to train.
        CheckError: a loss or a gradient is not finite (with fp16, whose scaler skips such steps: to the last).
    """
    freeze_backbone(model, frozen=config.TINYFUSION_FREEZE_BACKBONE)
    scaler = torch.amp.GradScaler(example.video.device.type, enabled=model.autocast_dtype is torch.float16)
    step = TrainingStep(model.train(), make_optimizer(model, config), scaler)
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    silent, losses, broken, num_idle = list(trainable), [], [], 0
    while silent and num_idle < MAX_IDLE_STEPS and len(losses) < MAX_STEPS:
        piece = Piece(example.video, example.text, example.noise(model, len(losses)), num_clips=1)
        (loss,), norm = step.gradient([piece])
        losses.append(float(loss))
        if not math.isfinite(losses[-1]):
            raise CheckError(f"The loss of step {len(losses)} is {losses[-1]}; wanted a finite number. {UNSTABLE}")
        largest = {name: _largest(p.grad) for name, p in trainable.items()}
        broken = [name for name, value in largest.items() if not math.isfinite(value)]
        if broken and not scaler.is_enabled():
            break
        step.update(norm, limit=config.GRADIENT_CLIP, skip=bool(broken))
        waiting = silent if broken else [name for name in silent if not largest[name]]
        num_idle = num_idle + 1 if len(waiting) == len(silent) and not broken else 0
        silent = waiting
    if broken:
        raise CheckError(f"Step {len(losses)}: gradient not finite in {_some(broken)}; wanted numbers. {UNSTABLE}")
    return Steps(losses, len(trainable), silent)


def check_gradients(steps: Steps, *, architecture: str) -> None:
    """Every trainable tensor has had a gradient.

    Raises:
        CheckError: names those that have not.
    """
    if steps.silent:
        raise CheckError(
            f"{len(steps.silent)} of {steps.num_trainable} trainable tensors had no gradient in {len(steps.losses)} "
            f"steps: {_some(steps.silent)}; wanted one in each. Between them and the output something stays at zero or "
            f"cuts them off: unfreeze it, or see how models/architectures/{architecture}.py uses them."
        )


def check_motion(model: Text2Sign, example: Example, weight: float) -> float:
    """How much more an error counts in the loss where the clip moves than where it stands; ``weight``: MOTION_WEIGHT.

    The clip is the example's, with one corner of its middle frame turned to the other side of grey. What each value's
    error counts is the loss's gradient by the prediction over that error.

    Raises:
        CheckError: not 1 + ``weight`` times.
    """
    video, noise, predictions = example.video.clone(), example.noise(model, 0), []
    corner = (..., video.shape[2] // 2, slice(video.shape[3] // 4), slice(video.shape[4] // 4))
    video[corner] = 0.5 - (video[corner] > 0).float()
    with torch.enable_grad():
        seen = model.backbone.register_forward_hook(lambda _, inputs, output: predictions.append(output))
        loss = model.train()(video, example.text, noise, weight).sum() * SCALE
        seen.remove()
    (gradient,) = torch.autograd.grad(loss, predictions)
    target = model.schedule.target(model.standardise(video), noise.eps, noise.t, prediction_type=model.prediction_type)
    error = (predictions[0].detach().float() - target).abs()
    moves = moving(video, cell=video.shape[3] // error.shape[3]).expand_as(error).bool()
    counted = [float(gradient.float().abs()[where].sum() / error[where].sum()) for where in (moves, ~moves)]
    if not math.isclose(counted[0], (1 + weight) * counted[1], rel_tol=0.05):
        raise CheckError(
            f"An error where the clip moves counts {counted[0] / counted[1]:.3g} times as much as elsewhere; wanted "
            f"{1 + weight:g}, for MOTION_WEIGHT={weight:g}: see forward in diffusion/text2sign.py."
        )
    return counted[0] / counted[1]


def check_text(model: Text2Sign, example: Example, output: Tensor, *, architecture: str) -> tuple[float, float]:
    """How much another caption changes ``output``, and the same one again, as shares of its deviation.

    ``output`` is what ``predict`` gave for the example's own caption.

    Raises:
        CheckError: the first is not clearly more than the second.
    """
    scale = max(float(output.std()), torch.finfo(output.dtype).tiny)
    again, change = (
        float((predict(model, example, text) - output).abs().max()) / scale for text in (example.text, example.other)
    )
    if not change > max(FLAT, FACTOR * again):
        raise CheckError(
            f"Another caption changes the output by {change:.1e} of its deviation, the same caption again by "
            f"{again:.1e}; wanted clearly more. The text does not reach the video: see how models/architectures/"
            f"{architecture}.py uses text.tokens and text.pooled, and that nothing there is frozen at zero."
        )
    return change, again


UNSTABLE = "Try --set MIXED_PRECISION=no, or a lower LEARNING_RATE."


def _largest(gradient: Tensor | None) -> float:
    """The largest absolute value; not finite if one is not. No gradient counts as zero."""
    return 0.0 if gradient is None else float(torch.linalg.vector_norm(gradient, ord=math.inf))


def _some(names: list[str]) -> str:
    more = f" (and {len(names) - NAMED} more)" if len(names) > NAMED else ""
    return "; ".join(names[:NAMED]) + more
