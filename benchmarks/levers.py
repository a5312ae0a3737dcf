"""What each lever buys: one change from a recipe, equal cost, several seeds, on the 26 letters of one language.

    python -m benchmarks.levers --prepare                   # 26 clips of 8 frames, 32 px
    python -m benchmarks.levers --seconds 45 --seeds 3      # about 50 minutes on one core
    python -m benchmarks.levers --seconds 45 --seeds 3 --only base epsilon     # some rows; others are kept

The recipe is a joint space-time transformer whose tokens are wide enough for the noise of their pixels (4 x 4 px of 4
frames, 192 numbers in 192 channels), so that predictions compare; the rows of time adapters use the frame-by-frame
model. Each run trains for the same CPU seconds on one thread, after a few timed steps have said how many steps that is.
Guidance and averaging are compared on the recipe's own runs. Chance is 1 of 26.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.machine import RESULTS, ROOT, command_line, describe, run_command, write_result
from config import Config, make_config
from dataset import TextToSignDataset, load_dataset
from diffusion import text2sign
from methods.evaluation.pixels import score_retrieval
from methods.evaluation.ranking import prompt_ranking
from methods.sampling.generate import generate
from methods.sampling.loading import LoadedModel
from methods.sampling.provenance import Request
from methods.trainer import Trainer

DATA = "training_data/levers"
SIZES = {"NUM_FRAMES": 8, "IMAGE_SIZE": 32}
RECIPE = {
    **SIZES, "DATA_DIR": f"{DATA}/ase", "MODEL_ARCHITECTURE": "dit3d", "TUBELET_FRAMES": 4, "TUBELET_SIZE": 4,
    "TRANSFORMER_WIDTH": 192, "TRANSFORMER_DEPTH": 4, "BATCH_SIZE": 8, "SAMPLE_EVERY_EPOCHS": 0,
}  # fmt: skip
FRAMES = {"MODEL_ARCHITECTURE": "tinyfusion", "TINYFUSION_VARIANT": "DiT-XS/8"}
ROWS: dict[str, dict[str, Any]] = {
    "base": {},
    "pooled text only": {},
    "token cross-attention only": {},
    "epsilon": {"PREDICTION_TYPE": "epsilon"},
    "epsilon, shift 1": {"PREDICTION_TYPE": "epsilon", "NOISE_SHIFT": 1.0},
    "v": {"PREDICTION_TYPE": "v_prediction"},
    "T = 50": {"TIMESTEPS": 50},
    "shift 1": {"NOISE_SHIFT": 1.0},
    "shift 5": {"NOISE_SHIFT": 5.0},
    "min-SNR": {"LOSS_WEIGHTING": "min_snr"},
    "raw text": {"STANDARDISE_TEXT": False},
    "raw clips": {"STANDARDISE_CLIPS": False},
    "no caption dropout": {"CAPTION_DROPOUT": 0.0},
    "frame by frame": FRAMES,
    "frame by frame, convolution only": FRAMES,
    "frame by frame, no time": FRAMES,
    "seed's recipe": {
        "PREDICTION_TYPE": "epsilon", "NOISE_SHIFT": 1.0, "TIMESTEPS": 50, "STANDARDISE_CLIPS": False,
        "STANDARDISE_TEXT": False, "CAPTION_DROPOUT": 0.0, "EMA_DECAY": 0.0,
    },
}  # fmt: skip
SCORES = ("steps", "retrieval", "psnr_db", "ranking")
GUIDANCE = (1.0, 2.0, 4.0)
WARM_UP, TIMED = 3, 10  # steps
NUM_LEVELS = 3  # noise levels of the ranking


class Silent(nn.Module):
    """In the place of a branch: adds nothing to a residual, or hands on what it was given."""

    def __init__(self, *, hand_on: bool) -> None:
        super().__init__()
        self.hand_on = hand_on

    def forward(self, x: Tensor, *_: Tensor) -> Tensor:
        return x if self.hand_on else torch.zeros_like(x)


def without_tokens(backbone: nn.Module) -> None:
    """dit3d: no block looks at the text tokens; the pooled text stays."""
    backbone.text_attention = nn.ModuleList(Silent(hand_on=True) for _ in backbone.text_attention)


def without_pooled(backbone: nn.Module) -> None:
    """dit3d: the conditioning vector is the timestep's alone; the tokens stay."""
    backbone.conditioning.text.set_amplitude(0.0)
    backbone.conditioning.text.pooled.requires_grad_(False)


def without_temporal_attention(backbone: nn.Module) -> None:
    """tinyfusion: time passes through the last 3-D convolution alone."""
    for adapter in backbone.adapters:
        adapter.temporal = Silent(hand_on=False)


def without_time(backbone: nn.Module) -> None:
    """tinyfusion: every frame for itself."""
    without_temporal_attention(backbone)
    backbone.temporal_convolution = Silent(hand_on=True)


SURGERY: dict[str, Callable[[nn.Module], None]] = {
    "pooled text only": without_tokens,
    "token cross-attention only": without_pooled,
    "frame by frame, convolution only": without_temporal_attention,
    "frame by frame, no time": without_time,
}


@contextmanager
def backbones(change: Callable[[nn.Module], None] | None, name: str) -> Iterator[None]:
    """While it lasts, every new backbone of architecture ``name`` is changed in place."""
    usual = text2sign.ARCHITECTURES[name]

    def changed(*args: Any, **kwargs: Any) -> nn.Module:
        backbone = usual.build(*args, **kwargs)
        if change:
            change(backbone)
        return backbone

    text2sign.ARCHITECTURES[name] = replace(usual, build=changed)
    try:
        yield
    finally:
        text2sign.ARCHITECTURES[name] = usual


def train(config: Config, seconds: float) -> Trainer:
    """A run of about ``seconds`` of CPU time, whose learning rate falls to zero at its end."""
    trainer = Trainer(config)
    for index in range(WARM_UP + TIMED):
        if index == WARM_UP:
            start = time.process_time()
        trainer.train_step()
        trainer.step += 1
    step = (time.process_time() - start) / TIMED
    epochs = max(2, round(seconds / step / trainer.steps_per_epoch))
    trainer = Trainer(make_config(overrides={**config.to_dict(), "NUM_EPOCHS": epochs}))
    while trainer.step < trainer.num_steps:
        trainer.train_step()
        trainer.step += 1
    return trainer


def scores(trainer: Trainer, *, averaged: bool = True, guidance: float = 1.0) -> dict[str, float]:
    """Retrieval, PSNR and prompt ranking of what was trained."""
    loaded = LoadedModel(trainer.model, trainer.encoder, trainer.config, trainer.step, Path("none"))
    loaded = loaded.with_settings(GUIDANCE_SCALE=guidance)
    trainer.model.eval()
    if averaged:
        with trainer.ema.applied_to(trainer.model):
            return _scores(loaded, trainer.data)
    return _scores(loaded, trainer.data)


def _scores(loaded: LoadedModel, data: TextToSignDataset) -> dict[str, float]:
    rows, captions = list(range(len(data))), sorted(set(data.texts))
    requests = [Request(caption, 0) for caption in captions]
    clips = [clip.frames for clip in generate(replace(loaded, batch_size=len(captions)), requests)]
    score, psnr = score_retrieval(clips, captions, data, rows)
    ranked = prompt_ranking(loaded, data, rows, captions, max_levels=NUM_LEVELS, show_progress=False)
    return {
        "retrieval": round(score.accuracy, 4),
        "psnr_db": round(psnr, 2),
        "ranking": round(ranked.score.accuracy, 4),
    }


def measure(name: str, seed: int, seconds: float, folder: Path) -> dict[str, dict[str, float]]:
    """The row's scores, and those of the rows that need no training of their own."""
    places = {key: str(folder / key) for key in ("CHECKPOINT_DIR", "LOG_DIR", "SAMPLE_DIR")}
    config = make_config("demo", {**RECIPE, **places, "SEED": seed, "EXPERIMENT_NAME": "lever", **ROWS[name]})
    with backbones(SURGERY.get(name), config.MODEL_ARCHITECTURE):
        trainer = train(config, seconds)
    found = {name: {"steps": trainer.num_steps, **scores(trainer)}}
    if name == "base":
        for scale in GUIDANCE[1:]:
            found[f"guidance {scale:g}"] = {"steps": trainer.num_steps, **scores(trainer, guidance=scale)}
        found["no averaging"] = {"steps": trainer.num_steps, **scores(trainer, averaged=False)}
    return found


def table(rows: dict[str, dict[str, dict[str, float]]]) -> str:
    """Mean over seeds, and the range of retrieval."""
    lines = [f"{'row':<34}{'steps':>7}{'retrieval':>11}{'of seeds':>15}{'PSNR':>7}{'ranking':>9}"]
    for name, by_seed in rows.items():
        runs = list(by_seed.values())
        mean = {key: statistics.mean(run[key] for run in runs) for key in SCORES}
        low, high = (function(run["retrieval"] for run in runs) for function in (min, max))
        lines.append(
            f"{name:<34}{mean['steps']:>7.0f}{mean['retrieval']:>11.2f}{f'{low:.2f}-{high:.2f}':>15}"
            f"{mean['psnr_db']:>7.1f}{mean['ranking']:>9.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Train what is asked for, keep what is there, ``results/levers.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepare", action="store_true", help="render the clips")
    parser.add_argument("--seconds", type=float, default=45, help="CPU time of each training (default 45)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row (default 3)")
    parser.add_argument("--first-seed", type=int, default=0, help="for two processes side by side")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    arguments = parser.parse_args()
    if arguments.prepare:
        sizes = f"--set IMAGE_SIZE={SIZES['IMAGE_SIZE']} --set NUM_FRAMES={SIZES['NUM_FRAMES']}"
        run_command(f"prepare-data --preset demo --languages ase {sizes} --output {ROOT / DATA}")
        return
    torch.set_num_threads(1)
    load_dataset(make_config("demo", RECIPE))  # says at once what is missing
    commit = describe()["commit"]
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        for name in arguments.only:
            with tempfile.TemporaryDirectory() as folder:
                found = measure(name, seed, arguments.seconds, Path(folder))
            rows = _stored()
            for row, values in found.items():
                rows.setdefault(row, {})[str(seed)] = {**values, "commit": commit}
                print(f"seed {seed} {row:<34} {values}", flush=True)
            write_result("levers", command_line("levers"), {"seconds": arguments.seconds, "rows": rows})
    print(table(_stored()), file=sys.stderr)


def _stored() -> dict[str, dict[str, dict[str, float]]]:
    path = RESULTS / "levers.json"
    return json.loads(path.read_text())["rows"] if path.is_file() else {}


if __name__ == "__main__":
    main()
