"""``plan``: everything about a config that can be known before anything is rented, downloaded or trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from config import Config
from methods.planning.memory import BYTES, Place, TrainingPlan, levers, place_of, plan_sampling, plan_training
from methods.planning.seconds import Speed, measure_speed
from methods.sampling.loading import default_batch_size
from methods.training.report import NUM_RANKED
from models.encoder_files import EncoderShape, encoder_shape
from models.text_encoder import memory_bytes
from utils import runtime
from utils.layouts.registry import read_listing
from utils.reading.clip_cache import ClipCache
from utils.split import split

ASSUMED_WIDTH = 768  # channels of DistilBERT, BERT and most of their family


@dataclass(frozen=True)
class Plan:
    """The answer. Memory in bytes; ``host`` lies beside the device, or on it if it is the CPU."""

    config: Config
    place: Place
    encoder: EncoderShape | None  # None: not on this machine
    training: TrainingPlan
    num_between: int  # clips that pass at once between steps: previews, ranking, validation; 0: none do
    between: int
    host: dict[str, int]
    num_clips: int  # training clips; 0: none found
    speed: Speed | None  # None: the device is not here
    memory: int | None  # of the device; None: not known
    levers: list[tuple[dict[str, object], int]]  # only where it does not fit

    @property
    def on_device(self) -> int:
        """Tensors on the device, at most, while training."""
        return max(self.training.peak.num_bytes, self.between)

    @property
    def needed(self) -> int:
        """The most that the device's memory must hold while training; on a CPU with what the host holds beside it."""
        return self.on_device + (sum(self.host.values()) if self.place.device.type == "cpu" else 0)

    @property
    def steps_per_epoch(self) -> int:
        """0 if there are no clips."""
        return math.ceil(self.num_clips / (self.config.BATCH_SIZE * self.config.GRADIENT_ACCUMULATION_STEPS))


def make_plan(config: Config, *, memory: int | None = None) -> Plan:
    """Trace a step and a sampling, time a slice, and look for what spares memory if it does not fit.

    ``memory``: bytes of the planned device; None: as this machine's has. Captions are reckoned at their longest.

    Raises:
        UserError: the config cannot be trained, whatever the machine.
    """
    place = place_of(config)
    encoder = encoder_shape(config.TEXT_ENCODER)
    sizes = {
        "text_width": encoder.width if encoder else ASSUMED_WIDTH,
        "num_tokens": config.TEXT_MAX_LENGTH,
    }
    training = plan_training(config, place, **sizes)
    num_clips = num_training_clips(config)
    plan = Plan(
        config=config,
        place=place,
        encoder=encoder,
        training=training,
        num_between=clips_between_steps(config),
        between=memory_between_steps(config, place, training, sizes),
        host=_host(config, training, encoder, num_clips, sizes),
        num_clips=num_clips,
        speed=measure_speed(config, place, **sizes) if place.present else None,
        memory=memory or (runtime.memory_bytes(place.device) if place.present else None),
        levers=[],
    )
    if plan.memory is not None and plan.needed > plan.memory:
        plan.levers.extend(_try_levers(plan, sizes))
    return plan


def clips_between_steps(config: Config) -> int:
    """The most clips that go through the model at once, without gradients, between two steps of a training."""
    previews = config.NUM_PREVIEWS if config.SAMPLE_EVERY_EPOCHS else 0
    ranked = NUM_RANKED if config.RANK_EVERY_EPOCHS else 0
    validated = min(config.BATCH_SIZE, config.NUM_VALIDATION_CLIPS) if config.VALIDATE_EVERY_EPOCHS else 0
    return max(min(max(previews, ranked), default_batch_size(config)), validated)


def memory_between_steps(config: Config, place: Place, training: TrainingPlan, sizes: dict[str, int]) -> int:
    """Bytes while they pass: the model runs on averaged weights, the moments wait beside them, and its own weights
    do where the averages lie, on the device or not."""
    num_clips = clips_between_steps(config)
    if not num_clips:
        return 0
    num_waiting = 3 if place.averages_here(config) else 2
    sampling = plan_sampling(config, place, num_clips=num_clips, **sizes)
    return sampling.num_bytes + num_waiting * BYTES * training.num_trainable


def _try_levers(plan: Plan, sizes: dict[str, int]) -> list[tuple[dict[str, object], int]]:
    """(what is changed, bytes on the device then) of each lever alone; last all of them, where there are several."""
    changes = levers(plan.config, plan.place)
    if plan.between > plan.training.peak.num_bytes:
        changes.append({"RANK_EVERY_EPOCHS": 0, "NUM_PREVIEWS": 1})
    if len(changes) > 1:
        changes.append({key: value for change in changes for key, value in change.items()})
    tried = []
    for change in changes:
        config = replace(plan.config, **change)
        training = plan_training(config, plan.place, **sizes)
        between = memory_between_steps(config, plan.place, training, sizes)
        tried.append((change, max(training.peak.num_bytes, between)))
    return tried


def num_training_clips(config: Config) -> int:
    """By what is listed alone, captions from the cache where it has them; 0 if there is none.

    Raises:
        UserError: the list is broken, or the split does not fit it.
    """
    folder = Path(config.DATA_DIR)
    if not folder.is_dir():
        return 0
    size = {"num_frames": config.NUM_FRAMES, "image_size": config.IMAGE_SIZE, "rate": config.FRAME_RATE}
    recall = ClipCache(config.CACHE_DIR, folder, **size).recall  # which writes nothing
    rows = read_listing(folder, config.DATA_FORMAT, recall=recall)[1].rows
    return len(split(config, rows, copies={}).training) if rows else 0


def _host(
    config: Config, training: TrainingPlan, encoder: EncoderShape | None, num_clips: int, sizes: dict[str, int]
) -> dict[str, int]:
    parts = {
        "averaged weights (EMA)": training.host_average,
        "text encoder": encoder.num_bytes if encoder else 0,
        "captions' text features": memory_bytes(num_clips, num_tokens=sizes["num_tokens"], width=sizes["text_width"]),
        "training clips, 8 bits": num_clips * math.prod(config.CLIP_SHAPE),
    }
    return {name: size for name, size in parts.items() if size}
