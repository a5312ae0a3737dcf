"""What a run tells beside its loop: scalars, settings, previews. Reads the trainer, never writes to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from methods.optimisation import ema_initial_share
from methods.sampler import Request, generate, sampling_settings, write_clips
from utils import runtime
from utils.train_logger import TrainLogger

if TYPE_CHECKING:
    from methods.trainer import Trainer


class Watch:
    """Decides what is told when; ``log`` writes it down."""

    def __init__(self, trainer: Trainer, log: TrainLogger) -> None:
        self._trainer, self._log = trainer, log
        log.settings(trainer.step, trainer.config.to_dict())

    def after_step(self, metrics: dict[str, float], *, seconds: float) -> None:
        """``metrics`` of the step that ended, which took so many ``seconds``."""
        trainer = self._trainer
        if trainer.step % trainer.config.LOG_EVERY_STEPS:
            return
        norm = metrics["gradient_norm"]
        values = {
            ("Training", "loss"): metrics["loss"],
            ("Training", "gradient_norm"): norm,
            ("Training", "gradient_norm_clipped"): min(norm, trainer.config.GRADIENT_CLIP),
            ("Training", "skipped"): metrics["skipped"],
            ("Training", "skipped_steps_total"): trainer.skipped_steps,
            ("Learning_Rate", "learning_rate"): metrics["learning_rate"],
            ("Performance", "seconds_per_step"): seconds,
            ("Performance", "clips_per_second"): len(trainer.rows()) / seconds,
            ("System", "peak_memory_gib"): runtime.peak_memory_bytes(trainer.device) / 2**30,
            ("Parameter_Stats", "ema_initial_share"): ema_initial_share(trainer.config, trainer.step),
        }
        self._log.scalars(trainer.step, values)

    def after_epoch(self, epoch: int) -> None:
        """What has its own interval, once the state is saved."""
        every = self._trainer.config.SAMPLE_EVERY_EPOCHS
        if every and epoch % every == 0:
            self._preview()

    def _preview(self) -> None:
        """Clips for the first validation captions (training captions where nothing is held out), averaged weights."""
        trainer, config = self._trainer, self._trainer.config
        texts = list(dict.fromkeys(trainer.data.texts[i] for i in trainer.validation or trainer.training))
        requests = [Request(text, config.SEED) for text in texts[: config.NUM_PREVIEWS]]
        trainer.model.eval()
        with trainer.ema.applied_to(trainer.model):
            clips = generate(trainer.model, trainer.encoder, requests, **sampling_settings(config))
        trainer.model.train()
        folder = Path(config.SAMPLE_DIR) / config.EXPERIMENT_NAME / "previews"
        write_clips(folder, requests, clips, config=config, step=trainer.step, fps=config.FPS)
        for request, clip in zip(requests, clips, strict=True):
            self._log.clip(trainer.step, request.prompt, clip, fps=config.FPS)
