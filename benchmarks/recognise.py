"""fix-config against random checkpoints of all five architectures, with their settings and with these taken out.

    python -m benchmarks.recognise --checkpoints 200        # a few minutes

Each has a random model and random statistics. Right means: config.py is rewritten so that every model key that the
file can know is the checkpoint's; wrong means: any other value was written. Without settings the keys ``UNTRACED``
cannot be known and must stay as they were.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import shutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

import config as settings
from benchmarks.machine import write_result
from config import Config, ConfigError, UserError, make_config, model_keys
from diffusion.text2sign import ARCHITECTURES, create_text2sign
from external.TinyFusion.dit import OURS, PATCH_SIZES
from methods.fix_config import fit, read_source, replace_file, stored_config
from utils.checkpoints import file as checkpoint
from utils.runtime import generator

UNTRACED = (
    "NUM_FRAMES", "TEXT_ENCODER", "TEXT_MAX_LENGTH", "TIMESTEPS", "NOISE_SCHEDULER", "NOISE_SHIFT", "PREDICTION_TYPE",
)  # fmt: skip
"""Model keys that no tensor depends on: the weights are the same for any number of frames or steps."""

SMALL = (*OURS, "S")  # variants that build in a moment


def random_config(number: int) -> Config:
    """A valid config, a function of ``number``; architectures take turns."""
    draw = generator(0, "random config", number)

    def pick(choices: Any) -> Any:
        return choices[int(torch.randint(len(choices), (), generator=draw))]

    name = list(ARCHITECTURES)[number % len(ARCHITECTURES)]
    while True:
        values = {
            "MODEL_ARCHITECTURE": name, "TINYFUSION_VARIANT": f"DiT-{pick(SMALL)}/{pick(PATCH_SIZES)}",
            "TINYFUSION_ADAPTER_WIDTH": 32 * pick((1, 2, 3)), "TUBELET_FRAMES": pick((1, 2, 4)),
            "TUBELET_SIZE": pick((2, 4, 8)), "TRANSFORMER_WIDTH": 64 * pick((1, 2)),
            "TRANSFORMER_DEPTH": pick((1, 2, 3, 4)), "UNET_PATCH_SIZE": pick((1, 2, 4)),
            "UNET_WIDTH": 32 * pick((1, 2)), "UNET_LEVELS": pick((1, 2, 3)), "NUM_FRAMES": pick((4, 8, 16)),
            "IMAGE_SIZE": pick((16, 32, 64)), "TIMESTEPS": pick((50, 100, 1000)),
            "PREDICTION_TYPE": pick(("epsilon", "v_prediction", "sample")), "NOISE_SHIFT": pick((1.0, 12.0)),
            "STANDARDISE_CLIPS": pick((True, False)), "STANDARDISE_TEXT": pick((True, False)),
        }  # fmt: skip
        with contextlib.suppress(ConfigError):  # a clip that is not whole patches
            return make_config("default", values)


def write_checkpoint(config: Config, path: Path, *, with_settings: bool) -> None:
    """A checkpoint of a fresh model of ``config``, as training writes it, or without all that describes it."""
    model = create_text2sign(config, SimpleNamespace(width=384))
    draw = torch.Generator().manual_seed(1)
    if config.STANDARDISE_CLIPS:
        model.fit_clip_statistics(torch.randn(model.clip_mean.shape, generator=draw) * 0.1, 0.3)
    if config.STANDARDISE_TEXT:
        model.text.pooled_mean.copy_(torch.randn(384, generator=draw))
    state = model.state_dict()
    if not with_settings:
        torch.save({"model": state}, path)
        return
    empty = {"encoder": {}, "epoch": 0, "batch": 0, "step": 0, "skipped_steps": 0, "validation_loss": None}
    tables = {"model": state, "ema": {}, "optimizer": {}, "scaler": {}, "data": {}}
    version = {"format_version": checkpoint.FORMAT_VERSION}
    checkpoint.save(path, {**version, "config": config.to_dict(), **empty, **tables})


def defaults_of(file: Path) -> dict[str, Any]:
    """The settings of another config.py, as Python itself reads them."""
    space: dict[str, Any] = {"__name__": "config"}
    exec(compile(file.read_text(), file, "exec"), space)
    return {field.name: field.default for field in dataclasses.fields(space["Config"])}


def outcome(config: Config, folder: Path, *, with_settings: bool) -> str:
    """``right``, ``refused`` (nothing was written), or ``wrong: KEY``."""
    path, file = folder / "a.pt", folder / "config.py"
    write_checkpoint(config, path, with_settings=with_settings)
    shutil.copy(settings.__file__, file)
    before = defaults_of(file)
    refused = False
    try:  # what the command does
        replace_file(file, fit(read_source(file), *stored_config(path)))
    except UserError:
        refused = True
    after = defaults_of(file)
    if refused:
        return "refused" if after == before else "wrong: refused, yet written"
    known = [key for key in model_keys(config.MODEL_ARCHITECTURE) if with_settings or key not in UNTRACED]
    wanted = {**before, **{key: getattr(config, key) for key in known}}
    wrong = [key for key in wanted if after[key] != wanted[key] and key != "INFERENCE_TIMESTEPS"]
    return f"wrong: {', '.join(wrong)}" if wrong else "right"


def main() -> None:
    """Count the outcomes, ``results/recognise.json``; exit code 1 if anything wrong was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=int, default=200)
    number = parser.parse_args().checkpoints
    counts: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for index in range(number):
            config = random_config(index)
            for with_settings in (True, False):
                found = outcome(config, Path(folder), with_settings=with_settings)
                row = counts.setdefault("with settings" if with_settings else "without", {})
                row[found] = row.get(found, 0) + 1
    for name, row in counts.items():
        print(f"{name:<16}" + ", ".join(f"{found} {times} of {number}" for found, times in sorted(row.items())))
    path = write_result("recognise", f"python -m benchmarks.recognise --checkpoints {number}", {"outcomes": counts})
    print(f"written: {path}", file=sys.stderr)
    sys.exit(any(found.startswith("wrong") for row in counts.values() for found in row))


if __name__ == "__main__":
    main()
