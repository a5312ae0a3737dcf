"""A run as its report may see it, and what is reported once, at its start: settings, machine, parameters, graph."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from config import Config, differences
from dataset import TextToSignDataset
from diffusion.text2sign import Text2Sign
from methods.cost import small_copy
from methods.training.optimisation import Ema
from methods.training.parameter_stats import parameter_table
from models.text_encoder import TextEncoder
from utils import runtime
from utils.train_logger import Logger


@dataclass(frozen=True)
class Run:
    """The parts of a training, which are to be read only, and where it begins.

    ``training`` and ``validation`` are indices of ``data``.
    """

    config: Config
    data: TextToSignDataset
    training: list[int]
    validation: list[int]
    encoder: TextEncoder
    model: Text2Sign
    ema: Ema
    first_step: int
    steps_per_epoch: int

    @property
    def device(self) -> torch.device:
        """That of the model."""
        return self.model.clip_mean.device


def report_start(run: Run, log: Logger) -> None:
    """Tell of ``run`` what stays the same."""
    config, model, step = run.config, run.model, run.first_step
    log.table(step, "Configuration", "settings", ("setting", "value", "default"), settings_rows(config))
    log.table(
        step, "Model_Architecture", "parameters", ("group", "tensors", "parameters", "trained", "share"),
        parameter_table(model),
        note=f"{config.MODEL_ARCHITECTURE} on {runtime.describe(run.device, model.autocast_dtype)}. "
        "The tab Graphs shows the same architecture at the size of the debug preset.",
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
