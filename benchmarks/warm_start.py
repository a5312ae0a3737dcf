"""Warm start pays: steps to the scratch run's loss, from fresh weights and from a file in the published layout.

    python -m benchmarks.warm_start           # about a quarter of an hour on two cores, most of it pretraining

Does in small what the published weights were made for, and what a user does with them: an image DiT, conditioned on
classes, learns to denoise four latent channels, here on single frames of the letters of 18 other sign languages; its
averaged weights are written in the published layout; the demo then trains on the letters of a language that the file
has not seen, from scratch and, with the text at three amplitudes, from the file. The loss is that of fixed noise.

One thing differs from the published file: it predicts the clean image, as the demo does, and not the noise. The 1,024
numbers of noise in a patch of 16 px cannot pass through 192 channels (a published patch has 16 numbers).
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.machine import ROOT, run_command, write_result
from config import Config, make_config
from dataset import TextToSignDataset
from external.TinyFusion.dit import DiT, parse_variant
from external.TinyFusion.weights import LATENT_CHANNELS, PUBLISHED_CLASS_ROWS, latent_of_rgb, published_timesteps
from methods.trainer import Trainer
from methods.training.warm_start import TEXT_AMPLITUDE
from models.layers.positions import fitted_positions
from schedulers.noise_schedulers import NoiseSchedule
from utils.runtime import autocast, generator

HELD_OUT = ("ase", "fsl")  # the demo's language, and the one whose clips are copies of it
EMA_DECAY = 0.999
DROPPED_LABELS = 0.1  # become the null class, as in the published training
NUM_LEVELS = 8  # noise levels of the loss
EVERY = 14  # steps between two measurements of the loss
AMPLITUDES = (0.0, TEXT_AMPLITUDE, 1.0)  # of the text beside the pretrained weights


def pretrain(folders: list[Path], path: Path, *, num_steps: int, batch_size: int, learning_rate: float) -> float:
    """Train the image DiT on every frame below ``folders``; write ``path`` in the published layout; the last loss."""
    demo = make_config("demo")
    shape = parse_variant(demo.TINYFUSION_VARIANT)
    frames, labels = _images(folders, demo)
    torch.manual_seed(0)
    dit = DiT(
        demo.IMAGE_SIZE, shape.patch_size, hidden_size=shape.hidden_size, depth=shape.depth, num_heads=shape.num_heads
    )  # 4 latent channels, 1,000 classes and the null class, learned variance: the published layout
    dit.pos_embed.copy_(fitted_positions(shape.hidden_size, dit.grid_size))
    average = {name: value.clone() for name, value in dit.state_dict().items()}
    schedule = NoiseSchedule(demo.NOISE_SCHEDULER, demo.TIMESTEPS, noise_shift=demo.NOISE_SHIFT)
    timesteps = published_timesteps(schedule.exact)
    optimizer = torch.optim.AdamW(dit.parameters(), lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    losses = []
    for step in tqdm(range(num_steps), desc="pretraining", unit="step", file=sys.stderr):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1, (step + 1) / 40) * 0.5 * (1 + math.cos(math.pi * step / num_steps))
        draw = generator(0, "pretraining", step)
        rows = torch.randint(len(frames), (batch_size,), generator=draw)
        z = torch.einsum("kc,bchw->bkhw", latent_of_rgb(frames), frames[rows])
        eps = torch.randn(z.shape, generator=draw)
        t = torch.randint(demo.TIMESTEPS, (batch_size,), generator=draw)
        dropped = torch.rand(batch_size, generator=draw) < DROPPED_LABELS
        y = labels[rows].masked_fill(dropped, PUBLISHED_CLASS_ROWS - 1)
        with autocast(z.device, torch.bfloat16):
            estimate = dit(schedule.add_noise(z, eps, t), timesteps[t], y)[:, :LATENT_CHANNELS]
        loss = (estimate.float() - z).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(dit.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        decay = min(EMA_DECAY, (1 + step) / (10 + step))
        for name, value in dit.state_dict().items():
            average[name].lerp_(value, 1 - decay)
        losses.append(float(loss.detach()))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"ema": average}, path)
    return sum(losses[-50:]) / len(losses[-50:])


def _images(folders: list[Path], config: Config) -> tuple[Tensor, Tensor]:
    """Standardised frames (N, 3, H, W) of all clips, and a class (N,) for every caption without its language."""
    images, names = [], []
    for folder in folders:
        data = TextToSignDataset(str(folder), num_frames=config.NUM_FRAMES, image_size=config.IMAGE_SIZE)
        mean, std = data.statistics(list(range(len(data))))
        for index in range(len(data)):
            images.append(((data.videos([index])[0] - mean) / std).transpose(0, 1))  # (F, 3, H, W)
            names += [data.texts[index].split(" in ")[0]] * config.NUM_FRAMES
    known = {name: number for number, name in enumerate(sorted(set(names)))}
    return torch.cat(images), torch.tensor([known[name] for name in names])


def curve(config: Config, *, num_steps: int, amplitude: float | None = None) -> list[tuple[int, float]]:
    """Train and measure: (step, loss) every EVERY steps, the first before any; ``amplitude`` of the text, if given."""
    trainer = Trainer(config)
    if amplitude is not None:
        trainer.model.backbone.text.set_amplitude(amplitude)
    points = [(0, fixed_loss(trainer))]
    for _ in tqdm(range(num_steps), desc=config.EXPERIMENT_NAME, unit="step", file=sys.stderr):
        trainer.train_step()
        trainer.step += 1
        if trainer.step % EVERY == 0:
            points.append((trainer.step, fixed_loss(trainer)))
    return points


def fixed_loss(trainer: Trainer) -> float:
    """The error of the x_0 estimate over all clips, at NUM_LEVELS noise levels, with the same noise every time."""
    rows, model, num_steps = trainer.training, trainer.model.eval(), trainer.config.TIMESTEPS
    total = 0.0
    for level in range(NUM_LEVELS):
        t = torch.full((len(rows),), (2 * level + 1) * num_steps // (2 * NUM_LEVELS))
        eps = torch.randn(len(rows), *model.clip_shape, generator=generator(0, "fixed loss", level))
        text = trainer.encoder.encode([trainer.data.texts[row] for row in rows])
        total += float(model.denoising_error(trainer.data.videos(rows), text, eps, t).mean())
    model.train()
    return total / NUM_LEVELS


def steps_to(points: list[tuple[int, float]], loss: float) -> float | None:
    """Where the curve first falls to ``loss``, linear between measurements; None if it never does."""
    for (before, high), (after, low) in zip(points, points[1:], strict=False):
        if low <= loss:
            return before if high <= loss else before + (after - before) * (high - loss) / (high - low)
    return None


def main() -> None:
    """Pretrain, train twice, print the table and write ``results/warm_start.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "generated_samples" / "benchmark_warm_start")
    parser.add_argument("--pretrain_steps", type=int, default=2400, help="of the image model (default 2400)")
    parser.add_argument("--steps", type=int, default=182, help="of each run on the held-out language (default 182)")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    run_command(f"prepare-data --preset demo --output {folder / 'letters'}")
    others = sorted(path for path in (folder / "letters").iterdir() if path.is_dir() and path.name not in HELD_OUT)
    weights = folder / f"pretrained_{arguments.pretrain_steps}.pt"
    if weights.exists():
        print(f"{weights} is there from an earlier run")
    else:
        last = pretrain(others, weights, num_steps=arguments.pretrain_steps, batch_size=64, learning_rate=1.5e-3)
        print(f"pretrained on {', '.join(path.name for path in others)}: loss {last:.3f}; written {weights}")

    places = {key: str(folder / key) for key in ("CHECKPOINT_DIR", "LOG_DIR", "SAMPLE_DIR")}
    common = {**places, "DATA_DIR": str(folder / "letters" / HELD_OUT[0]), "LR_DECAY": "none"}
    warm = {"TINYFUSION_INIT": "pretrained", "TINYFUSION_CHECKPOINT": str(weights)}
    scratch = curve(make_config("demo", {**common, "EXPERIMENT_NAME": "scratch"}), num_steps=arguments.steps)
    curves = {"scratch": scratch}
    for amplitude in AMPLITUDES:
        config = make_config("demo", {**common, **warm, "EXPERIMENT_NAME": f"warm {amplitude:g}"})
        curves[config.EXPERIMENT_NAME] = curve(config, num_steps=arguments.steps, amplitude=amplitude)
    print(f"{'step':>6}" + "".join(f"{name:>10}" for name in curves))
    for rows in zip(*curves.values(), strict=True):
        print(f"{rows[0][0]:>6}" + "".join(f"{loss:>10.3f}" for _, loss in rows))
    shares = {}
    print("steps to the loss of the scratch run, as a share of its steps")
    for step, goal in scratch[1:]:
        reached = {name: steps_to(points, goal) for name, points in curves.items() if points is not scratch}
        shares[step] = {name: None if steps is None else round(steps / step, 3) for name, steps in reached.items()}
        print(f"{step:>6}{goal:>10.3f}" + "".join(f"{'-' if s is None else s:>10}" for s in shares[step].values()))
    result = {"curves": curves, "share_of_scratch_steps": shares}
    command = f"python -m benchmarks.warm_start --pretrain_steps {arguments.pretrain_steps} --steps {arguments.steps}"
    print(f"written: {write_result('warm_start', command, result)}", file=sys.stderr)


if __name__ == "__main__":
    main()
