"""A run as its report may see it, and what is reported once, at its start: settings, machine, parameters, noise levels
and the graph."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from config import Config, differences
from dataset import TextToSignDataset
from diffusion.text2sign import Text2Sign
from methods.cost import small_copy
from methods.evaluation.ranking import noise_levels
from methods.training.optimisation import Ema
from methods.training.parameter_stats import parameter_table
from models.text_encoder import TextEncoder
from schedulers.noise_schedulers import NoiseSchedule
from utils import runtime
from utils.train_logger import Logger


@dataclass(frozen=True)
class Run:
    """The parts of a training, which are to be read only, and where it begins.

    ``training`` and ``validation`` are indices of ``data``; ``outline`` is a model of the same shape for what is
    counted on it, since a sharded one cannot be copied.
    """

    config: Config
    data: TextToSignDataset
    training: list[int]
    validation: list[int]
    encoder: TextEncoder
    model: Text2Sign
    outline: nn.Module
    ema: Ema
    first_step: int
    steps_per_epoch: int

    @property
    def device(self) -> torch.device:
        """That of the model."""
        return self.model.clip_mean.device


def report_start(run: Run, log: Logger, *, flops: float, peak: float) -> None:
    """``flops``: operations of a training step for one clip; ``peak``:
    operations a second of a matrix product."""
    config, model, step = run.config, run.model, run.first_step
    log.table(step, "Configuration", "settings", ("setting", "value", "default"), settings_rows(config))
    log.table(
        step, "Model_Architecture", "parameters", ("group", "tensors", "parameters", "trained", "share"),
        parameter_table(model),
        note=f"{config.MODEL_ARCHITECTURE}: {flops / 1e9:,.1f} GFLOP a clip and training step, as executed. "
        "The tab Graphs shows the same architecture at the size of the debug preset.",
    )  # fmt: skip
    log.table(
        step, "System", "machine", ("device", "host memory in use", "best matrix product"),
        [[runtime.describe(run.device, model.autocast_dtype),
          f"{runtime.memory_gib(run.device)['host_peak']:.1f} GiB", f"{peak / 1e12:.3g} TFLOP/s"]],
    )  # fmt: skip
    log.table(
        step, "Diffusion", "noise_levels", ("t", "alpha", "sigma", "SNR", "log SNR"), level_rows(model.schedule),
        note="Where errors of fixed clips are measured, with averaged weights. SNR is alpha² / sigma².",
    )  # fmt: skip
    if config.LOG_DETAILS_EVERY_EPOCHS and step == 0:
        log.graph(*small_copy(config, run.encoder))


def settings_rows(config: Config) -> list[list[str]]:
    """Rows (setting, value, default); where the two differ in bold, else the default is left out."""
    changed = differences(config, Config())
    return [
        [f"**{name}**", f"**`{value!r}`**", f"`{changed[name][0]!r}`"]
        if name in changed
        else [name, f"`{value!r}`", ""]
        for name, value in config.to_dict().items()
    ]


def level_rows(schedule: NoiseSchedule) -> list[list[str]]:
    """Rows (t, alpha, sigma, SNR, log SNR) of the noise levels at which fixed clips are measured."""
    rows = []
    for t in noise_levels(schedule.num_steps):
        squared, log_snr = float(schedule.exact[t]), schedule.log_snr()[t]
        row = (squared**0.5, (1 - squared) ** 0.5, float(log_snr.exp()), float(log_snr))
        rows.append([str(t), *(f"{value:.3g}" for value in row)])
    return rows
