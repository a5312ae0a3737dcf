"""The training loop: model, data and optimiser in, checkpoints, previews and logs out.

The position of a run is one number, ``step``: the order of clips, all noise, the learning rate and the EMA decay are
pure functions of (SEED, step). So resuming replays exactly what an uninterrupted run would have done. Under torchrun
every process runs this loop in step with the others; the first alone writes and speaks.

    python main.py train --preset demo
    python main.py train --preset demo --resume      # goes on after Ctrl-C, a crash, or with more epochs
    torchrun --nproc_per_node 8 main.py train        # 8 GPUs; see docs/many_gpus.md
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from config import Config
from dataset import are_drawn, data_identity, load_dataset, parts_of
from diffusion.text2sign import TrainingNoise, create_text2sign, training_noise
from methods.sampling import known_captions
from methods.sampling.loading import check_encoder, encoder_identity, load_weights
from methods.training.distributed import Share, distribute, gathered, load_moments, shares
from methods.training.interruption import Interruption
from methods.training.optimisation import Ema, make_optimizer
from methods.training.report import Report
from methods.training.resume import print_data, print_doubles, read_state, same_caption
from methods.training.start_report import Run
from methods.training.step import Piece, StepResult, TrainingStep
from methods.training.warm_start import TrainingError, autoencoder_on_new_clips, begin, freeze_backbone
from models.text_encoder import TextEncoder
from schedulers.training_schedules import ema_decay, learning_rate, motion_weight
from utils import runtime
from utils.checkpoints import file as checkpoint
from utils.checkpoints import listing as checkpoint_list
from utils.process_group import add, first_says, in_turn, on_first, together
from utils.processes import world
from utils.split import epoch_order
from utils.train_logger import open_logger

MAX_BAD_STEPS = 10  # non-finite steps in a row that stop the run


class Trainer:
    """One run of one experiment. ``Trainer(config).run()`` trains to the end or to the first interruption."""

    def __init__(
        self, config: Config, *, resume: Path | None = None, init: Path | None = None, verify: bool = False
    ) -> None:
        """Read the data, ``verify``: whole, build the model, restore the state; ``init``: where a fresh one has its
        weights from, a checkpoint or an exported folder.

        Raises:
            UserError: data, encoder, weights, checkpoint or device cannot be used; nothing has been written then.
        """
        self.config, self.world = config, world()
        self.device, dtype = runtime.prepare(config)
        content = together(lambda: read_state(config, resume))
        self.data = in_turn(lambda: load_dataset(config, verify=verify))
        print_data(self.data)
        together(lambda: self._build(content, resume, init))
        if alike := same_caption(self.data, self.training):
            print(f"note: {alike}", file=sys.stderr)
        self.model.autocast_dtype = dtype
        self.model.to(self.device).train()
        self.forward = distribute(self.model, config, self.device)
        self.optimizer = make_optimizer(self.model, config)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=dtype is torch.float16)
        average_on = self.device if config.EMA_DEVICE == "model" else torch.device("cpu")
        self.ema = Ema(self.model, average_on, decay=config.EMA_DECAY)
        self.step = 0
        self.skipped_steps = 0  # bad ones since the beginning
        self._saved_step = -1  # none yet
        self._order: tuple[int, list[int]] | None = None  # the clips of an epoch, and which one
        self.validation_loss: float | None = None  # of this very state, on held-out clips
        self.clips_per_step = config.BATCH_SIZE * config.GRADIENT_ACCUMULATION_STEPS * self.world.size
        self.steps_per_epoch = math.ceil(len(self.training) / self.clips_per_step)
        self.num_steps = self.steps_per_epoch * config.NUM_EPOCHS
        if content is not None and resume is not None:
            self._restore(content, resume)
        self.bad_steps = 0
        self.interruption = Interruption()
        self._stop_agreed = False  # of several processes, after the current step
        self.report: Report | None = None  # while ``run`` runs

    # ---- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> bool:
        """Train until NUM_EPOCHS; True if it got there, False if interrupted. The state is saved in both cases."""
        config = self.config
        on_first(lambda: checkpoint_list.keep(config))  # names that a kill prevented
        folder = Path(config.LOG_DIR) / config.EXPERIMENT_NAME
        logger = together(lambda: open_logger(folder, first_step=self.step))
        with logger as log, self.interruption, self._progress() as bar:
            self.report = Report(self.view(), log)
            while self.step < self.num_steps and not self.stop_requested:
                started = time.perf_counter()
                result = self.train_step()
                self.step += 1
                seconds = time.perf_counter() - started
                self.validation_loss = self.report.after_step(result, seconds=seconds)
                bar.set_postfix_str(
                    f"loss={result.loss:.4f}, clips/s={len(result.losses) / seconds:.1f}", refresh=False
                )
                bar.update()
                if self.step % self.steps_per_epoch == 0:
                    self._end_of_epoch(self.step // self.steps_per_epoch)
            if self._saved_step != self.step or first_says(not checkpoint.latest_path(config).is_file()):
                self._save_and_keep()
        return self.step >= self.num_steps

    @property
    def is_sharded(self) -> bool:
        """Whether each process holds a part of every parameter, and not the whole model."""
        return self.world.size > 1 and self.config.DISTRIBUTED == "fsdp"

    @property
    def stop_requested(self) -> bool:
        """Whether training ends with the current step: all processes after the same one."""
        return self.interruption.asked if self.world.size == 1 else self._stop_agreed

    def view(self) -> Run:
        """What the report may look at."""
        names = ("config", "data", "training", "validation", "encoder", "model", "ema")
        parts = {name: getattr(self, name) for name in names}
        return Run(**parts, first_step=self.step, steps_per_epoch=self.steps_per_epoch)

    def train_step(self) -> StepResult:
        """One optimiser step over BATCH_SIZE * GRADIENT_ACCUMULATION_STEPS clips of each process; fewer where an
        epoch ends.

        Gradients are of the mean over all clips: 4 at once, 2 + 2 accumulated, and 2 on each of two processes are the
        same step. A step that is not finite is skipped. With fp16, gradients that overflow while they are scaled up may
        be the scale's fault: it is halved, at first from 65,536, and only what overflows at 1 and below is held against
        the numbers themselves.

        Raises:
            TrainingError: MAX_BAD_STEPS steps in a row were not finite, such overflows apart.
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
        parts = shares(len(rows), batch_size=config.BATCH_SIZE, world=self.world)
        step = TrainingStep(self.forward, self.optimizer, self.scaler)
        losses, norm = step.gradient(self._pieces(rows, noise, parts))
        if self.report is not None:
            self.report.gradients(self.step + 1)
        per_clip = self._gather(parts, losses, num_clips=len(rows))
        rate = learning_rate(config, self.step, self.num_steps)
        sound = bool(per_clip.isfinite().all())
        finite = sound and bool(norm.isfinite())
        may_overflow = sound and self.scaler.is_enabled() and self.scaler.get_scale() > 1.0
        self._update(step, norm, rate=rate, skip=not finite)
        if not finite:
            self.skipped_steps += 1
            if not may_overflow:
                self._count_bad_step(rows, per_clip, float(norm))
        return StepResult(
            step=self.step + 1, losses=per_clip, t=noise.t, drop=noise.drop, gradient_norm=float(norm),
            learning_rate=rate, skipped=not finite, skipped_total=self.skipped_steps,
        )  # fmt: skip

    def _pieces(self, rows: list[int], noise: TrainingNoise, parts: list[Share]) -> Iterator[Piece]:
        """What this process computes of a step, piece by piece on its device."""
        captions, epoch = self.captions(rows), self.step // self.steps_per_epoch
        for share in parts:
            yield Piece(
                self.data.videos(rows[share.rows], drawn=(self.config.SEED, epoch)).to(self.device),
                self.encoder.encode(captions[share.rows]).to(self.device),
                noise[share.rows].to(self.device),
                num_clips=len(rows),
                motion_weight=motion_weight(self.config, self.step, self.num_steps),
                weight=share.weight * self.world.size,  # exchanged gradients are averaged over the processes
                is_last=share is parts[-1],
            )

    def _gather(self, parts: list[Share], losses: list[Tensor], *, num_clips: int) -> Tensor:
        """The loss of every clip of the step, (num_clips,) on the host; brings along who was asked to stop."""
        flat = torch.cat(losses).cpu().split([len(found) for found in losses])
        out = torch.zeros(num_clips + 1)
        out[-1] = float(self.interruption.asked)
        for share, found in zip(parts, flat, strict=True):
            if share.weight:
                out[share.rows] = found
        add(out)  # a sum with zeros: exact, and NaN stays NaN
        self._stop_agreed = bool(out[-1] > 0)
        return out[:-1]

    def rows(self) -> list[int]:
        """Indices of the clips of the current step."""
        epoch, position = divmod(self.step, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, epoch_order(self.training, seed=self.config.SEED, epoch=epoch)
        return self._order[1][position * self.clips_per_step : (position + 1) * self.clips_per_step]

    def captions(self, rows: list[int]) -> list[str]:
        """Their captions; for the text-blind control random ones, a function of (SEED, step)."""
        if not self.config.SHUFFLE_CAPTIONS:
            return [self.data.texts[row] for row in rows]
        draw = runtime.generator(self.config.SEED, "shuffled captions", self.step)
        picks = torch.randint(len(self.training), (len(rows),), generator=draw).tolist()
        return [self.data.texts[self.training[pick]] for pick in picks]

    def _update(self, step: TrainingStep, norm: Tensor, *, rate: float, skip: bool) -> None:
        """Clip, step, average; or ``skip`` what is not finite, which changes nothing.

        Skipped at a multiple of EMA_EVERY, it leaves the average as it is until the next multiple.
        """
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        step.update(norm, limit=config.GRADIENT_CLIP, skip=skip)
        if skip:
            return
        self.bad_steps = 0
        if (self.step + 1) % config.EMA_EVERY == 0:
            self.ema.update(self.model, ema_decay(config, self.step + 1))

    def _count_bad_step(self, rows: list[int], per_clip: Tensor, norm: float) -> None:
        self.bad_steps += 1
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
        if epoch % config.SAVE_EVERY_EPOCHS == 0 or first_says(self._is_best()):
            self._save_and_keep()
        self.report.after_saving(self.step)
        if self.device.type == "cuda" and epoch % config.SAVE_EVERY_EPOCHS == 0:
            torch.cuda.empty_cache()

    def _is_best(self) -> bool:
        """Whether this very state was validated just now, better than any that is kept."""
        if self.validation_loss is None:
            return False
        config, data = self.config.to_dict(), data_identity(self.data, self.training)
        facts = {"validation_loss": self.validation_loss, "config": config, "data": data}
        return checkpoint_list.is_best(facts, checkpoint_list.best_path(self.config))

    def _save_and_keep(self) -> None:
        """``save``, and judge whether it is the best."""
        self.save()
        on_first(lambda: checkpoint_list.keep(self.config))

    def save(self) -> Path:
        """Write ``latest_checkpoint.pt``."""
        path = checkpoint.latest_path(self.config)
        content = self.state()  # gathered by all
        on_first(lambda: checkpoint.save(path, content))
        self._saved_step = self.step
        return path

    def state(self) -> dict[str, object]:
        """Everything that a checkpoint holds (``checkpoint.FIELDS``); a sharded one all gather for the first."""
        found = {
            "format_version": checkpoint.FORMAT_VERSION,
            "config": self.config.to_dict(),
            "encoder": encoder_identity(self.encoder),
            "epoch": self.step // self.steps_per_epoch,
            "batch": self.step % self.steps_per_epoch,
            "step": self.step,
            "skipped_steps": self.skipped_steps,
            "validation_loss": self.validation_loss,
            "model": self.model.state_dict(),
            "ema": self.ema.state(self.model),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "data": {
                **data_identity(self.data, self.training),
                "drawn": are_drawn(self.data, self.training),  # which decides what samples are written as
                "frames_per_second": self.data.frames_per_second(self.training),  # at which they play
            },
            "origin": self.origin,
            "captions": self.captions_kept,
        }
        return gathered(found, keep=self.world.is_first) if self.is_sharded else found

    def _build(self, content: dict[str, object] | None, path: Path | None, init: Path | None) -> None:
        """Split, encoder and model, on the host; the model fresh or from ``init``, or with the weights of
        ``content``."""
        config = self.config
        parts = parts_of(config, self.data)
        self.training, self.validation = parts.training, parts.held_out
        print_doubles(self.data, parts, trained_on=config.TRAIN_ON_DOUBLES)
        self.encoder = TextEncoder(config.TEXT_ENCODER, max_length=config.TEXT_MAX_LENGTH, cache_dir=config.CACHE_DIR)
        self.model = create_text2sign(config, self.encoder)
        if content is None or path is None:
            words, self.origin = begin(self.model, config, self.data, self.training, self.encoder, init=init)
            print(words, file=sys.stderr)
        else:
            self.origin = content["origin"]
            check_encoder(content["encoder"], self.encoder, path)
            load_weights(self.model, content["model"], path)
        freeze_backbone(self.model, frozen=config.TINYFUSION_FREEZE_BACKBONE)
        texts = (self.data.texts[row] for row in self.training)
        self.captions_kept = known_captions.keep(self.encoder, self.model.text, texts)

    def _restore(self, content: dict[str, object], path: Path) -> None:
        stored, own = (groups["param_groups"] for groups in (content["optimizer"], self.optimizer.state_dict()))
        if [group["params"] for group in stored] != [group["params"] for group in own]:
            raise checkpoint.CheckpointError(
                f"{path} trained other parameters than this config does. Set TINYFUSION_FREEZE_BACKBONE as it was."
            )
        self.ema.restore(self.model, content["ema"])
        load_moments(self.optimizer, content["optimizer"])
        if content["scaler"]:  # empty where it was trained without fp16
            self.scaler.load_state_dict(content["scaler"])
        before, now = content["data"], data_identity(self.data, self.training)
        if not checkpoint.same_clips(before, now):
            found = " -> ".join(f"{part['num_clips']} clips ({part['digest']})" for part in (before, now))
            print(f"changed: training data {found}", file=sys.stderr)
            if told := autoencoder_on_new_clips(self.model, self.data, self.training, self.config):
                print(f"note: {told}", file=sys.stderr)
        self.step = self._saved_step = content["step"]
        self.skipped_steps = content["skipped_steps"]

    def _progress(self) -> tqdm:
        numbers = {"total": self.num_steps, "initial": self.step, "disable": not self.world.is_first}
        return tqdm(**numbers, desc="training", unit="step", dynamic_ncols=True)
