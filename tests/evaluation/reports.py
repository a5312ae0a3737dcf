"""A report and pairs of clips as an evaluation makes them, small and made up."""

from __future__ import annotations

from dataclasses import fields

from methods.evaluation.likeness.order import with_tau
from methods.evaluation.measures import STEP_NAMES, STEPS
from methods.evaluation.motion import measure_motion
from methods.evaluation.page import ClipPair
from methods.evaluation.scores import Score
from methods.sampling.generate import GeneratedClip
from methods.sampling.provenance import Provenance
from tests.conftest import moving_square


def score(correct: int, num: int = 40, chance: float = 0.1) -> dict[str, object]:
    return Score(correct, num, chance).to_dict()


def falling(first: float) -> dict[str, float]:
    return with_tau({step: first / (1 + place) for place, step in enumerate(STEPS)})


def part(correct: int) -> dict[str, object]:
    clips, captions = [moving_square(0), moving_square(1), moving_square(2)], ["a", "b", "b"]
    return {
        "num_clips": 40,
        "num_captions": 10,
        "prompt_ranking": score(correct),
        "prompt_ranking_4_way": score(correct, chance=0.25),
        "prompt_ranking_by_timestep": {"10": score(correct), "2": score(0)},
        "retrieval": score(correct),
        "retrieval_psnr_db": 17.3,
        "recogniser": {"real": score(38), "generated": score(correct), "share_of_ceiling": correct / 38},
        "reading": {
            "real": {"word_error_rate": 0.05, "in_order": score(38)},
            "generated": {"word_error_rate": 0.3, "in_order": score(correct)},
            "share_of_ceiling": correct / 38,
        },
        "prompt_distance": {"between": 0.2, "within": 0.1, "ratio": 2.0},
        "motion": measure_motion(clips, captions, clips, captions),
        "variety": {
            "num_captions": 3,
            "spread_generated": 4.4,
            "spread_real": 5.5,
            "ratio": 0.8,
            "precision": 0.91,
            "recall": 0.52,
        },
        "hands": {
            step: {"num_frames": 31, "found": 0.61, "pck": 0.42, "distance": 0.33, "ndtw": 0.24} for step in STEP_NAMES
        },
        "hands_order": {name: falling(0.7) for name in ("hands_found", "hands_pck", "hands_ndtw")},
        "order": {name: falling(60.0) for name in ("psnr", "ssim", "moving_psnr", "motion_explained")},
    }


def level(snr_db: float, error: float) -> dict[str, float]:
    nothing = 10 ** (-snr_db / 10)
    linear = nothing / (1 + nothing) * 0.9
    return {
        "snr_db": snr_db, "error": error, "refined_error": min(error, nothing), "mean_clip_error": 1.01,
        "linear_error": linear, "doing_nothing": nothing,
    }  # fmt: skip


def report(train: int = 36, held_out: int = 35, *, failed: bool = True) -> dict[str, object]:
    return {
        "format": 3,
        "pose_extra": True,
        "version": "0.1.0",
        "checkpoint": "checkpoints/demo/latest_checkpoint.pt",
        "checkpoint_sha256": "ab" * 32,
        "step": 12000,
        "data": "training_data",
        "seed": 42,
        "weights": "averaged",
        "averaged_weights_initial_share": 0.012,
        "sampling": {"num_steps": 50, "eta": 0.0},
        "denoising": {"10": level(-20.0, 0.5), "2": level(16.0, 0.012)},
        "parts": {"train": part(train), "held_out": part(held_out)},
        "recogniser": {
            "num_signs": 10,
            "num_training_signs": 90,
            "crop": "hand",
            "ceiling": score(38),
            "ceiling_of": "held-out real clips",
        },
        "controls": [
            {
                "name": "shuffled captions",
                "measure": "prompt ranking",
                "part": "train",
                "score": score(4),
                "failed": failed,
            }
        ],
    }


def generated(caption: str, index: int, *, num_frames: int = 4) -> GeneratedClip:
    values = {field.name: 1 for field in fields(Provenance)} | {"prompt": caption, "index": index, "fps": 8}
    return GeneratedClip(moving_square(index, num_frames=num_frames), Provenance(**values))


def pair(caption: str = "hello", where: str = "train", *, num: int = 2, num_frames: int = 4) -> ClipPair:
    clips = [generated(caption, index, num_frames=num_frames) for index in range(num)]
    return ClipPair(caption, where, moving_square(7, num_frames=num_frames), clips, [caption, "water"][:num], caption)
