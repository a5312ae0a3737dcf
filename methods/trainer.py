"""The training loop: model, data and optimiser in, checkpoints, previews and logs out.

The position of a run is one number, ``step``: the order of clips, all noise, the learning rate and the EMA decay are
pure functions of (SEED, step). So resuming replays exactly what an uninterrupted run would have done.

    python main.py train --preset demo
    python main.py train --preset demo --resume      # goes on after Ctrl-C, a crash, or with more epochs
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from config import Config
from dataset import data_identity, epoch_order, load_dataset, split
from diffusion.text2sign import create_text2sign, training_noise
from methods.interruption import Interruption
from methods.optimisation import Ema, ema_decay, learning_rate, make_optimizer
from methods.sampler import check_encoder, encoder_identity, load_weights
from methods.starting import read_state, tell_data
from methods.warm_start import TrainingError, freeze_backbone, initialise_backbone
from methods.watch import Watch
from models.text_encoder import TextEncoder
from utils import checkpoint, checkpoint_list, runtime
from utils.train_logger import TrainLogger

MAX_BAD_STEPS = 10  # non-finite steps in a row that stop the run


class Trainer:
    """One run of one experiment. ``Trainer(config).run()`` trains to the end or to the first interruption."""

    def __init__(self, config: Config, *, resume: Path | None = None) -> None:
        """Read the data, build the model, restore the state.

        Raises:
            UserError: data, encoder, weights, checkpoint or device cannot be used; nothing has been written then.
        """
        self.config = config
        self.device, dtype = runtime.prepare(config)
        content = read_state(config, resume)
        self.data = load_dataset(config)
        tell_data(self.data)
        self.training, self.validation = split(config, self.data.names)
        self.encoder = TextEncoder(config.TEXT_ENCODER, max_length=config.TEXT_MAX_LENGTH, cache_dir=config.CACHE_DIR)
        self.model = create_text2sign(config, self.encoder)
        if content is None:
            initialise_backbone(self.model, config)
            self._fit_statistics()
        freeze_backbone(self.model, frozen=config.TINYFUSION_FREEZE_BACKBONE)
        self.model.autocast_dtype = dtype
        self.model.to(self.device).train()
        self.optimizer = make_optimizer(self.model, config)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=dtype is torch.float16)
        self.ema = Ema(self.model, self.device if config.EMA_DEVICE == "model" else torch.device("cpu"))
        self.step = 0
        self.skipped_steps = 0  # bad ones since the beginning
        self._saved_step = -1  # none yet
        self.validation_loss: float | None = None  # of the last validation on held-out clips
        if content is not None and resume is not None:
            self._restore(content, resume)
        self.clips_per_step = config.BATCH_SIZE * config.GRADIENT_ACCUMULATION_STEPS
        self.steps_per_epoch = math.ceil(len(self.training) / self.clips_per_step)
        self.num_steps = self.steps_per_epoch * config.NUM_EPOCHS
        self.bad_steps = 0
        self.interruption = Interruption()
        self.watch: Watch | None = None  # while ``run`` runs

    # ---- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> bool:
        """Train until NUM_EPOCHS; True if it got there, False if interrupted. The state is saved in both cases."""
        config = self.config
        checkpoint_list.keep(config)  # names that a kill prevented
        folder = Path(config.LOG_DIR) / config.EXPERIMENT_NAME
        with TrainLogger(folder, first_step=self.step) as log, self.interruption, self._progress() as bar:
            self.watch = Watch(self, log)
            while self.step < self.num_steps and not self.interruption.asked:
                started = time.perf_counter()
                metrics = self.train_step()
                self.step += 1
                seconds = time.perf_counter() - started
                bar.set_postfix(self.watch.after_step(metrics, seconds=seconds), refresh=False)
                bar.update()
                if self.step % self.steps_per_epoch == 0:
                    self._end_of_epoch(self.step // self.steps_per_epoch)
            if not checkpoint.latest_path(config).is_file() or self._saved_step != self.step:
                self.save()
        return self.step >= self.num_steps

    def train_step(self) -> dict[str, float]:
        """One optimiser step over BATCH_SIZE * GRADIENT_ACCUMULATION_STEPS clips; fewer at the end of an epoch.

        Gradients are of the mean over all clips, so 4 at once and 2 + 2 accumulated are the same step.

        Raises:
            TrainingError: MAX_BAD_STEPS steps in a row were not finite.
        """
        config, rows = self.config, self.rows()
        noise = training_noise(
            config.SEED,
            self.step,
            num_clips=len(rows),
            shape=config.INPUT_SHAPE,
            num_steps=config.TIMESTEPS,
            caption_dropout=config.CAPTION_DROPOUT,
        )
        captions = self.captions(rows)
        losses = []
        for start in range(0, len(rows), config.BATCH_SIZE):
            part = slice(start, start + config.BATCH_SIZE)
            video = self.data.videos(rows[part]).to(self.device)
            text = self.encoder.encode(captions[part]).to(self.device)
            loss = self.model(video, text, noise[part].to(self.device))
            self.scaler.scale(loss.sum() / len(rows)).backward()
            losses.append(loss.detach())
        per_clip = torch.cat(losses).cpu()
        if self.watch is not None:
            self.watch.clips(per_clip, noise.t, noise.drop)
        return {"loss": float(per_clip.mean()), **self._update(rows, per_clip)}

    def rows(self) -> list[int]:
        """Indices of the clips of the current step."""
        epoch, position = divmod(self.step, self.steps_per_epoch)
        order = epoch_order(self.training, seed=self.config.SEED, epoch=epoch)
        return order[position * self.clips_per_step : (position + 1) * self.clips_per_step]

    def captions(self, rows: list[int]) -> list[str]:
        """Their captions; for the text-blind control random ones, a function of (SEED, step)."""
        if not self.config.SHUFFLE_CAPTIONS:
            return [self.data.texts[row] for row in rows]
        draw = runtime.generator(self.config.SEED, "shuffled captions", self.step)
        picks = torch.randint(len(self.training), (len(rows),), generator=draw).tolist()
        return [self.data.texts[self.training[pick]] for pick in picks]

    def _update(self, rows: list[int], per_clip: Tensor) -> dict[str, float]:
        """Clip, step, average; a step with a non-finite loss or gradient changes nothing and is counted.

        Skipped at a multiple of EMA_EVERY, it leaves the average as it is until the next multiple.
        """
        config = self.config
        rate = learning_rate(config, self.step, self.num_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.scaler.unscale_(self.optimizer)
        if self.watch is not None:
            self.watch.gradients()
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = float(nn.utils.clip_grad_norm_(parameters, config.GRADIENT_CLIP))
        finite = math.isfinite(norm) and bool(per_clip.isfinite().all())
        if finite:
            self.scaler.step(self.optimizer)
        elif not self.scaler.is_enabled() or not bool(per_clip.isfinite().all()):
            self._count_bad_step(rows, per_clip, norm)  # fp16's scaler tries large scales on purpose
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if finite:
            self.bad_steps = 0
            if (self.step + 1) % config.EMA_EVERY == 0:
                self.ema.update(self.model, ema_decay(config, self.step + 1))
        return {"gradient_norm": norm, "learning_rate": rate, "skipped": float(not finite)}

    def _count_bad_step(self, rows: list[int], per_clip: Tensor, norm: float) -> None:
        self.bad_steps += 1
        self.skipped_steps += 1
        suspects = [self.data.names[row] for row, loss in zip(rows, per_clip.tolist(), strict=True)]
        broken = [n for n, loss in zip(suspects, per_clip.tolist(), strict=True) if not math.isfinite(loss)] or suspects
        tqdm.write(
            f"step {self.step}: loss or gradient is not finite (norm {norm}), skipped; clips: {', '.join(broken)}",
            file=sys.stderr,
        )
        if self.bad_steps >= MAX_BAD_STEPS:
            raise TrainingError(
                f"{MAX_BAD_STEPS} steps in a row were not finite, the last at step {self.step}. The checkpoint on disk "
                "is from before. Lower LEARNING_RATE, try --set MIXED_PRECISION=no, or look at the clips named above."
            )

    # ---- beside the loop --------------------------------------------------------------------------------------------

    def _end_of_epoch(self, epoch: int) -> None:
        config = self.config
        validated = self.watch.validated_step == self.step
        if validated:
            self.validation_loss = self.watch.validation_loss
        if epoch % config.SAVE_EVERY_EPOCHS == 0:
            self.save(validation_loss=self.validation_loss if validated else None)
            checkpoint_list.keep(config)
        self.watch.after_saving()
        if self.device.type == "cuda" and epoch % config.SAVE_EVERY_EPOCHS == 0:
            torch.cuda.empty_cache()

    def save(self, *, validation_loss: float | None = None) -> Path:
        """Write ``latest_checkpoint.pt``, with the validation loss of this very state where it was measured."""
        path = checkpoint.latest_path(self.config)
        checkpoint.save(path, {**self.state(), "validation_loss": validation_loss})
        self._saved_step = self.step
        return path

    def state(self) -> dict[str, object]:
        """Everything that a checkpoint holds (``checkpoint.FIELDS``)."""
        return {
            "format_version": checkpoint.FORMAT_VERSION,
            "config": self.config.to_dict(),
            "encoder": encoder_identity(self.encoder),
            "epoch": self.step // self.steps_per_epoch,
            "batch": self.step % self.steps_per_epoch,
            "step": self.step,
            "skipped_steps": self.skipped_steps,
            "validation_loss": None,
            "model": self.model.state_dict(),
            "ema": self.ema.average,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "data": data_identity(self.data, self.training),
        }

    def _restore(self, content: dict[str, object], path: Path) -> None:
        check_encoder(content["encoder"], self.encoder, path)
        load_weights(self.model, content["model"], path)
        if set(content["ema"]) != set(self.ema.average):
            raise checkpoint.CheckpointError(
                f"{path} trained other parameters than this config does. Set TINYFUSION_FREEZE_BACKBONE as it was."
            )
        for name, value in content["ema"].items():
            self.ema.average[name].copy_(value)
        self.optimizer.load_state_dict(content["optimizer"])
        if content["scaler"]:  # empty where it was trained without fp16
            self.scaler.load_state_dict(content["scaler"])
        before, now = content["data"], data_identity(self.data, self.training)
        if before != now:
            found = " -> ".join(f"{part['num_clips']} clips ({part['digest']})" for part in (before, now))
            print(f"changed: training data {found}", file=sys.stderr)
        self.step = self._saved_step = content["step"]
        self.skipped_steps = content["skipped_steps"]

    def _fit_statistics(self) -> None:
        """Clip and text statistics from the training part alone; they travel in the checkpoint."""
        if self.config.STANDARDISE_CLIPS:
            self.model.fit_clip_statistics(*self.data.statistics(self.training))
        captions = sorted({self.data.texts[i] for i in self.training})
        self.model.text.fit(self.encoder.encode(captions))

    def _progress(self) -> tqdm:
        return tqdm(total=self.num_steps, initial=self.step, desc="training", unit="step", dynamic_ncols=True)
