"""What a training reports beside its loop, and when. It reads the run, and changes no number of it.

Of many processes each has a report, and all take part in what is measured, in the same order; the first alone writes.

Every LOG_EVERY_STEPS: means since the last time, gradient norms, speed, memory. At the end of an epoch its summary, and
at their own intervals details of the parameters, errors of fixed clips, prompt ranking (one line of ``metrics.jsonl``
for a step, all together), and after the state is saved previews. What is measured on clips uses averaged weights.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from methods.evaluation.denoising import LinearEstimate
from methods.evaluation.ranking import prompt_ranking
from methods.sampling.loading import LoadedModel
from methods.training.means import Means
from methods.training.parameter_stats import norms, samples
from methods.training.previews import preview
from methods.training.start_report import Run, report_start
from methods.training.step import StepResult
from methods.training.validation import FixedClips, FixedErrors
from schedulers.training_schedules import ema_decay, ema_initial_share
from utils import runtime
from utils.checkpoints import file as checkpoint
from utils.checkpoints.file import sha256_at
from utils.files import FileError
from utils.processes import world
from utils.train_logger import Logger
from utils.video import VideoError

NUM_RANKED = 8  # clips and captions of the prompt ranking, at most
RANKING_LEVELS = 3  # noise levels of it
PREVIEW_FIGURES = {"moving_psnr": "previews_moving_psnr", "explained": "previews_motion_explained"}

Values = dict[tuple[str, str], float]  # (category, name) -> value


class Report:
    """The loop calls ``gradients`` and ``after_step`` in every step, and ``after_saving`` at the end of an epoch."""

    def __init__(self, run: Run, log: Logger) -> None:
        self._run, self._log = run, log
        snr = run.model.schedule.log_snr().exp().tolist()
        self._interval, self._epoch = Means(snr), Means(snr)
        self._pool = run.validation or run.training
        self._pool_name = "validation" if run.validation else "training_clips"
        self._fixed = FixedClips(run.config, run.data, self._pool)
        self._gradient_norms: dict[str, float] = {}

    # ---- called by the loop ------------------------------------------------------------------------------------------

    def gradients(self, step: int) -> None:
        """The whole gradient of the ``step``-th step stands in the parameters, unscaled and not yet clipped."""
        log, details = step % self._run.config.LOG_EVERY_STEPS == 0, self._is_due(step, "LOG_DETAILS_EVERY_EPOCHS")
        if not (log or details):
            return
        found = {name: p.grad for name, p in self._run.model.named_parameters() if p.grad is not None}
        if log:
            self._gradient_norms = norms(found)
        if details:
            for group, values in samples(_matrices(found)).items():
                self._log.histogram(step, "Gradient_Stats", f"gradient_{group}", values)

    def after_step(self, result: StepResult, *, seconds: float) -> float | None:
        """The step that ended took so many ``seconds``. Returns the loss of its state on held-out clips."""
        run, step = self._run, result.step
        if step == run.first_step + 1 and world().is_first:  # takes a second, so the first step comes before it
            report_start(run, self._log)
        for means in (self._interval, self._epoch):
            means.add(result, seconds=seconds)
        values: Values = {}
        validation_loss = None
        if step % run.config.LOG_EVERY_STEPS == 0:
            values |= self._step_values(result)
        if step % run.steps_per_epoch == 0:
            values |= self._epoch_values()
        if self._is_due(step, "LOG_DETAILS_EVERY_EPOCHS"):
            values |= self._details(step)
        if self._is_due(step, "VALIDATE_EVERY_EPOCHS"):
            with self._averaged_weights():
                errors = self._fixed.measure(run.model, run.encoder)
            values |= self._error_values(step, errors)
            validation_loss = errors.loss if run.validation else None
        if self._is_due(step, "RANK_EVERY_EPOCHS"):
            values |= self._rank(step)
        if values:
            self._log.scalars(step, values)
        return validation_loss

    def after_saving(self, step: int) -> None:
        """Previews of the state as it is. One that cannot be made or written is told, and does not end the training."""
        run, config = self._run, self._run.config
        if not self._is_due(step, "SAMPLE_EVERY_EPOCHS"):
            return
        path = checkpoint.latest_path(config)
        rate = {"frames_per_second": run.data.frames_per_second(run.training)}
        loaded = LoadedModel(run.model, run.encoder, config, step, path, sha256_at(path, step), training_data=rate)
        try:
            with self._averaged_weights():
                found, motion = preview(loaded, run.data, self._pool, write=world().is_first)
        except (VideoError, FileError) as error:
            tqdm.write(f"no previews at step {step}: {error}", file=sys.stderr)
            return
        for name, frames in found.items():
            self._log.clip(step, name, frames, fps=loaded.fps)
        told = {
            ("Epoch_Summary", name): motion[key] for key, name in PREVIEW_FIGURES.items() if motion[key] is not None
        }
        self._log.scalars(step, told, shown_only=True)  # the step's line is written: previews come after saving

    def _is_due(self, step: int, setting: str) -> bool:
        """Whether an epoch ends with ``step`` that is a multiple of the setting; 0 is never."""
        every, (epoch, rest) = getattr(self._run.config, setting), divmod(step, self._run.steps_per_epoch)
        return rest == 0 and every > 0 and epoch % every == 0

    @contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        model = self._run.model
        model.eval()
        try:
            with self._run.ema.applied_to(model):
                yield
        finally:
            model.train()

    @cached_property
    def _linear(self) -> LinearEstimate:
        """What needs no network, fitted to training clips: a second, so not before it is asked for."""
        return LinearEstimate(self._run.model, self._run.data, self._run.training)

    # ---- measured ---------------------------------------------------------------------------------------------------

    def _step_values(self, result: StepResult) -> Values:
        """Means since the last time; begins to count anew."""
        means, rate = self._interval, result.learning_rate
        values: Values = {
            ("Training", "loss"): means.loss,
            ("Training", "gradient_norm"): means.norm,
            ("Training", "learning_rate"): rate,
            ("Training", "skipped_steps"): means.skipped,
            ("Training", "skipped_steps_total"): result.skipped_total,
            ("Learning_Rate", "learning_rate"): rate,
            ("Learning_Rate", "ema_decay"): ema_decay(self._run.config, result.step),
            ("Performance", "seconds_per_step"): means.seconds / means.steps,
            ("Performance", "clips_per_second"): means.clips / means.seconds,
            **{("System", f"{name}_gib"): size for name, size in runtime.memory_gib(self._run.device).items()},
            **{("Loss_Components", name): loss for name, loss in means.components().items()},
            **self._gradient_values(),
        }
        means.clear()
        return values

    def _gradient_values(self) -> Values:
        """Of this very step: norms by group and together, before and after clipping."""
        whole = sum(norm**2 for norm in self._gradient_norms.values()) ** 0.5
        factor = min(1.0, self._run.config.GRADIENT_CLIP / (whole + 1e-6))  # as clip_grad_norm_ has it
        values: Values = {}
        for group, norm in {"all": whole, **self._gradient_norms}.items():
            values["Gradient_Stats", f"before_{group}"] = norm
            values["Gradient_Stats", f"after_{group}"] = norm * factor
        return values

    def _epoch_values(self) -> Values:
        """Means over the epoch; over what is left of it where the run went on in its middle."""
        means = self._epoch
        values: Values = {
            ("Epoch_Summary", "loss"): means.loss,
            ("Epoch_Summary", "gradient_norm"): means.norm,
            ("Epoch_Summary", "largest_gradient_norm"): means.largest_norm,
            ("Epoch_Summary", "skipped_steps"): means.skipped,
            ("Epoch_Summary", "seconds_in_steps"): means.seconds,
        }
        means.clear()
        return values

    def _details(self, step: int) -> Values:
        """Norms and histograms by group of parameters."""
        run = self._run
        weights = {name: p.detach() for name, p in run.model.named_parameters()}
        for group, values in samples(_matrices(weights)).items():
            self._log.histogram(step, "Parameter_Histograms", group, values)
        return {
            ("Parameter_Stats", "ema_initial_share"): ema_initial_share(run.config, step),
            **{("Parameter_Stats", f"norm_{group}"): norm for group, norm in norms(weights).items()},
        }

    def _error_values(self, step: int, found: FixedErrors) -> Values:
        """Errors of the fixed clips, and their picture."""
        self._log.picture(step, "Noise_Visualization", self._pool_name, found.picture)
        values: Values = {("Epoch_Summary", f"{self._pool_name}_loss"): found.loss}
        for level in found.levels:
            at = f"{level.decibels:.0f}dB"
            values["Diffusion", f"snr_{at}"] = level.snr
            values["Diffusion", f"noise_mse_{at}"] = level.noise_error
            values["Diffusion", f"x_0_mse_{at}"] = level.x_0_error
            values["Diffusion", f"x_0_mse_refined_{at}"] = level.refined_error
            values["Diffusion", f"x_0_mse_over_linear_{at}"] = level.x_0_error / self._linear.error(level.snr)
            if level.snr > 1:  # above 1, the model is worse than what it was given
                values["Diffusion", f"x_0_mse_over_doing_nothing_{at}"] = level.x_0_error / level.doing_nothing
            values["Noise_Analysis", f"predicted_std_{at}"] = level.predicted_std
            values["Noise_Analysis", f"predicted_mean_{at}"] = level.predicted_mean
        return values

    def _rank(self, step: int) -> Values:
        """Is the denoising error of a clip lowest under its own caption? Nothing where all captions are one."""
        run, data = self._run, self._run.data
        indices = self._fixed.indices[:NUM_RANKED]
        own = dict.fromkeys(data.texts[i] for i in indices)
        captions = sorted([*own, *(text for text in dict.fromkeys(data.texts) if text not in own)][:NUM_RANKED])
        if len(captions) < 2:
            return {}
        config = replace(run.config, SEED=run.config.SPLIT_SEED)  # the same noise for every SEED
        with self._averaged_weights():
            loaded = LoadedModel(run.model, run.encoder, config, step, Path())
            score = prompt_ranking(
                loaded, data, indices, captions, max_levels=RANKING_LEVELS, show_progress=False
            ).score
        return {
            ("Epoch_Summary", f"{self._pool_name}_ranking"): score.accuracy,
            ("Epoch_Summary", "ranking_chance"): score.chance,
        }


def _matrices(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without biases and norms' scales, which stand near 0 and 1 and would stretch a histogram to what nobody reads."""
    return {name: tensor for name, tensor in tensors.items() if tensor.dim() >= 2}
