"""What a run tells beside its loop, and when. Reads the trainer, never writes to it, and changes no number of it.
Of many processes each has a watch, and all take part in what is measured, in the same order; the first one alone tells.

Every LOG_EVERY_STEPS: means since the last time, gradient norms, speed, memory. At the end of an epoch its summary, and
at their own intervals details of the parameters, errors of fixed clips, prompt ranking (one line of ``metrics.jsonl``
for a step, all together), and after the state is saved previews. What is measured on clips uses averaged weights.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor
from tqdm import tqdm

from methods.cost import matmul_peak, training_flops
from methods.evaluation.ranking import prompt_ranking
from methods.sampling.loading import LoadedModel
from methods.training.means import Tally
from methods.training.parameter_stats import block_groups, histograms, norms, update_ratios
from methods.training.preamble import tell_what_stays
from methods.training.previews import preview
from methods.training.validation import FixedClips
from schedulers.training_schedules import ema_decay, ema_initial_share
from utils import runtime
from utils.checkpoints import file as checkpoint
from utils.checkpoints.hash import hash_at
from utils.files import FileError
from utils.train_logger import Logger
from utils.video import VideoError

if TYPE_CHECKING:
    from methods.trainer import Trainer

NUM_RANKED = 8  # clips and captions of the prompt ranking, at most
RANKING_LEVELS = 3  # noise levels of it

Values = dict[tuple[str, str], float]  # (category, name) -> value


class Watch:
    """One run's telling; ``validation_loss`` is the last one measured on held-out clips, None before and without."""

    def __init__(self, trainer: Trainer, log: Logger) -> None:
        self._trainer, self._log = trainer, log
        snr = trainer.model.schedule.log_snr().exp().tolist()
        self.interval, self._epoch = Tally(snr), Tally(snr)
        self._groups = block_groups([name for name, _ in trainer.model.named_parameters()])
        self._fixed = FixedClips(trainer.config, trainer.data, trainer.validation or trainer.training)
        self._clips_name = "validation" if trainer.validation else "training_clips"
        self.validation_loss: float | None = None
        self.validated_step = -1  # the step that it was measured after
        self._batch: tuple[Tensor, Tensor, Tensor] | None = None
        self._gradient_norms: dict[str, float] = {}
        self._first_step, self._is_begun = trainer.step, False
        self._flops = self._peak = 0.0  # operations: of a step for one clip, and of the machine in a second
        self._last_told = time.perf_counter()

    # ---- heard from the trainer -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """What stays the same is measured and told, once. Takes seconds, so the first step comes before it."""
        if self._is_begun:
            return
        trainer, started = self._trainer, time.perf_counter()
        num_tokens = trainer.encoder.encode(trainer.data.texts[:16]).mask.shape[1]
        self._flops = training_flops(trainer.outline, num_clips=trainer.config.BATCH_SIZE, num_tokens=num_tokens)
        self._peak = matmul_peak(trainer.device, trainer.model.autocast_dtype)
        if trainer.world.is_first:
            tell_what_stays(trainer, self._log, self._groups, step=self._first_step, flops=self._flops, peak=self._peak)
        self._is_begun = True
        self._last_told += time.perf_counter() - started  # no part of an interval between steps

    def clips(self, losses: Tensor, t: Tensor, drop: Tensor) -> None:
        """The loss, timestep and caption dropout of each clip of the current step, (B,) each, on the host."""
        self._batch = losses, t, drop

    def gradients(self) -> None:
        """The whole gradient of the current step stands in the parameters, unscaled and not yet clipped."""
        trainer, step = self._trainer, self._trainer.step + 1
        log, details = step % trainer.config.LOG_EVERY_STEPS == 0, self._is_due(step, "LOG_DETAILS_EVERY_EPOCHS")
        if not (log or details):
            return
        found = {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}
        if log:
            self._gradient_norms = norms(found, self._groups)
        if details:
            for group, one in histograms(_matrices(found), self._groups).items():
                self._log.histogram(step, "Gradient_Stats", f"gradient_{group}", one)

    def after_step(self, metrics: dict[str, float], *, seconds: float) -> dict[str, str]:
        """``metrics`` of the step that ended, which took so many ``seconds``; returns what the progress bar shows."""
        self.begin()
        trainer, step = self._trainer, self._trainer.step
        for tally in (self.interval, self._epoch):
            tally.add(*self._batch, norm=metrics["gradient_norm"], skipped=metrics["skipped"] > 0, seconds=seconds)
        values: Values = {}
        if step % trainer.config.LOG_EVERY_STEPS == 0:
            values |= self._step_values(metrics["learning_rate"])
        if step % trainer.steps_per_epoch == 0:
            values |= self._epoch_values()
        if self._is_due(step, "LOG_DETAILS_EVERY_EPOCHS"):
            values |= self._details()
        if self._is_due(step, "VALIDATE_EVERY_EPOCHS"):
            values |= self._validate()
        if self._is_due(step, "RANK_EVERY_EPOCHS"):
            values |= self._rank()
        if values:
            self._log.scalars(step, values)
        return {"loss": f"{metrics['loss']:.4f}", "clips/s": f"{len(self._batch[0]) / seconds:.1f}"}

    def after_saving(self) -> None:
        """Previews of the state as it is. One that cannot be made or written is told, and does not end the training."""
        trainer, config = self._trainer, self._trainer.config
        if self._is_due(trainer.step, "SAMPLE_EVERY_EPOCHS"):
            pool = trainer.validation or trainer.training
            path = checkpoint.latest_path(config)
            saved = hash_at(path, trainer.step)
            loaded = LoadedModel(trainer.model, trainer.encoder, config, trainer.step, path, saved)
            try:
                with self._averaged_weights():
                    found = preview(loaded, trainer.data, pool, write=trainer.world.is_first)
            except (VideoError, FileError) as error:
                tqdm.write(f"no previews at step {trainer.step}: {error}", file=sys.stderr)
                return
            for name, frames in found.items():
                self._log.clip(trainer.step, name, frames, fps=config.FPS)

    def _is_due(self, step: int, setting: str) -> bool:
        """Whether an epoch ends with ``step`` that is a multiple of the setting; 0 is never."""
        every, (epoch, rest) = getattr(self._trainer.config, setting), divmod(step, self._trainer.steps_per_epoch)
        return rest == 0 and every > 0 and epoch % every == 0

    @contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        trainer = self._trainer
        trainer.model.eval()
        try:
            with trainer.ema.applied_to(trainer.model):
                yield
        finally:
            trainer.model.train()

    # ---- told -------------------------------------------------------------------------------------------------------

    def _step_values(self, rate: float) -> Values:
        """Means since the last time; begins to count anew."""
        trainer, config, tally = self._trainer, self._trainer.config, self.interval
        flops = self._flops * tally.clips / tally.seconds
        now = time.perf_counter()
        values: Values = {
            ("Training", "loss"): tally.loss,
            ("Training", "gradient_norm"): tally.norm,
            ("Training", "learning_rate"): rate,
            ("Training", "skipped_steps"): tally.skipped,
            ("Training", "skipped_steps_total"): trainer.skipped_steps,
            ("Learning_Rate", "learning_rate"): rate,
            ("Learning_Rate", "ema_decay"): ema_decay(config, trainer.step),
            ("Performance", "seconds_per_step"): tally.seconds / tally.steps,
            ("Performance", "clips_per_second"): tally.clips / tally.seconds,
            ("Performance", "teraflops_per_second"): flops / 1e12,
            ("Performance", "matmul_peak_share"): flops / (self._peak * trainer.world.size),
            ("Performance", "beside_steps_share"): 1 - tally.seconds / (now - self._last_told),
            **{("System", f"{name}_gib"): size for name, size in runtime.memory_gib(trainer.device).items()},
            **{("Loss_Components", name): loss for name, loss in tally.components().items()},
            **self._gradient_values(),
        }
        tally.clear()
        self._last_told = now
        return values

    def _gradient_values(self) -> Values:
        """Of this very step: norms by group and together, before and after clipping."""
        whole = sum(norm**2 for norm in self._gradient_norms.values()) ** 0.5
        factor = min(1.0, self._trainer.config.GRADIENT_CLIP / (whole + 1e-6))  # as clip_grad_norm_ has it
        values: Values = {}
        for group, norm in {"all": whole, **self._gradient_norms}.items():
            values["Gradient_Stats", f"before_{group}"] = norm
            values["Gradient_Stats", f"after_{group}"] = norm * factor
        return values

    def _epoch_values(self) -> Values:
        """Means over the epoch; over what is left of it where the run went on in its middle."""
        tally = self._epoch
        values: Values = {
            ("Epoch_Summary", "loss"): tally.loss,
            ("Epoch_Summary", "gradient_norm"): tally.norm,
            ("Epoch_Summary", "largest_gradient_norm"): tally.largest_norm,
            ("Epoch_Summary", "skipped_steps"): tally.skipped,
            ("Epoch_Summary", "seconds_in_steps"): tally.seconds,
        }
        tally.clear()
        return values

    def _details(self) -> Values:
        """Norms, update ratios, histograms by group of parameters."""
        trainer = self._trainer
        self._peak = max(self._peak, matmul_peak(trainer.device, trainer.model.autocast_dtype))  # the first was unlucky
        weights = {name: p.detach() for name, p in trainer.model.named_parameters()}
        for group, one in histograms(_matrices(weights), self._groups).items():
            self._log.histogram(trainer.step, "Parameter_Histograms", group, one)
        ratios = update_ratios(trainer.model, trainer.optimizer, self._groups)
        return {
            ("Parameter_Stats", "ema_initial_share"): ema_initial_share(trainer.config, trainer.step),
            **{("Parameter_Stats", f"norm_{group}"): norm for group, norm in norms(weights, self._groups).items()},
            **{("Parameter_Stats", f"update_{group}"): ratio for group, ratio in ratios.items()},
        }

    def _validate(self) -> Values:
        trainer = self._trainer
        with self._averaged_weights():
            found = self._fixed.measure(trainer.model, trainer.encoder)
        if trainer.validation:
            self.validation_loss, self.validated_step = found.loss, trainer.step
        self._log.picture(trainer.step, "Noise_Visualization", self._clips_name, found.picture)
        values: Values = {("Epoch_Summary", f"{self._clips_name}_loss"): found.loss}
        for level in found.levels:
            at = f"t{level.t:04d}"
            values["Diffusion", f"noise_mse_{at}"] = level.noise_error
            values["Diffusion", f"x_0_mse_{at}"] = level.x_0_error
            values["Noise_Analysis", f"correlation_{at}"] = level.correlation
            values["Noise_Analysis", f"predicted_std_{at}"] = level.predicted_std
            values["Noise_Analysis", f"predicted_mean_{at}"] = level.predicted_mean
        return values

    def _rank(self) -> Values:
        """Is the denoising error of a clip lowest under its own caption? Nothing where all captions are one."""
        trainer, data = self._trainer, self._trainer.data
        indices = self._fixed.indices[:NUM_RANKED]
        own = dict.fromkeys(data.texts[i] for i in indices)
        captions = sorted([*own, *(text for text in dict.fromkeys(data.texts) if text not in own)][:NUM_RANKED])
        if len(captions) < 2:
            return {}
        config = replace(trainer.config, SEED=trainer.config.SPLIT_SEED)  # the same noise for every SEED
        with self._averaged_weights():
            loaded = LoadedModel(trainer.model, trainer.encoder, config, trainer.step, Path())
            score = prompt_ranking(
                loaded, data, indices, captions, num_levels=RANKING_LEVELS, show_progress=False
            ).score
        return {
            ("Epoch_Summary", f"{self._clips_name}_ranking"): score.accuracy,
            ("Epoch_Summary", "ranking_chance"): score.chance,
        }


def _matrices(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without biases and norms' scales, which stand near 0 and 1 and would stretch a histogram to what nobody reads."""
    return {name: tensor for name, tensor in tensors.items() if tensor.dim() >= 2}
