"""verify_training_ready.py, methods/training/readiness.py: success for every architecture, every check made to fail."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from config import Config
from dataset import load_dataset
from diffusion.text2sign import ARCHITECTURES, Text2Sign, create_text2sign
from methods.training import readiness
from methods.training.readiness import CheckError, Example, Steps
from methods.training.warm_start import TrainingError, fit_statistics
from models.text_encoder import TextEncoder
from tests.conftest import command_settings, files_below, moving_square, write_clips_folder, write_pair
from tests.published_files import random_weights, write_published
from verify_training_ready import NUM_CHECKS, main, training_command

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
MakeConfig = Callable[..., Config]
Capture = pytest.CaptureFixture[str]


def published_file(path: Path, *, output_scale: float = 1.0) -> Path:
    """Random weights as if published for the debug preset's DiT-XXS/8, the output layer's times ``output_scale``."""
    weights = random_weights(2, 64, patch=8, grid=4)
    for name in ("final_layer.linear.weight", "final_layer.linear.bias"):
        weights[name] *= output_scale
    return write_published(path, weights)


def ready(config: Config, encoder: TextEncoder) -> tuple[Text2Sign, Example]:
    """What the script has before its first step."""
    data, rows = readiness.read_clips(config)
    model = create_text2sign(config, encoder)
    fit_statistics(model, data, rows, encoder)
    return model, readiness.make_example(config, data, rows, encoder, CPU)


def steps_of(model: Text2Sign, example: Example, config: Config) -> Steps:
    return readiness.take_steps(model, example, config)


def zero_and_freeze(*layers: nn.Module) -> None:
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
            parameter.requires_grad_(False)


def failure(arguments: list[str], capsys: Capture) -> str:
    """The last line of a run that must fail with exit code 1; nothing may follow it."""
    assert main(arguments) == 1
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [line[0] for line in lines] == ["["] * (len(lines) - 1) + ["❌"]
    assert "Traceback" not in printed.err and "PASSED" not in printed.out
    return lines[-1].removeprefix("❌ ")


# ---- Success ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_architecture_passes_and_the_closing_words_say_what_to_run(
    name: str, precision: str, tmp_path: Path, clips_folder: Path, capsys: Capture
) -> None:
    given = command_settings(tmp_path, clips_folder, MODEL_ARCHITECTURE=name, MIXED_PRECISION=precision)
    assert main(given) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:5] for line in lines[:NUM_CHECKS]] == [f"[{i}/{NUM_CHECKS}]" for i in range(1, NUM_CHECKS + 1)]
    assert all(" s  " in line for line in lines[:NUM_CHECKS]) and "from scratch" in lines[4]
    assert lines[NUM_CHECKS:] == [
        "",
        "✅ ALL CHECKS PASSED!",
        "",
        "Your model is ready for training. You can now run:",
        f"   python main.py train {' '.join(given)}",
    ]
    assert files_below(tmp_path) == {}


@pytest.mark.parametrize("frozen", [False, True])
def test_published_weights_are_loaded_and_pass_frozen_or_not(
    frozen: bool, tmp_path: Path, clips_folder: Path, capsys: Capture
) -> None:
    path = published_file(tmp_path / "dit.pt")
    wanted = {"TINYFUSION_INIT": "pretrained", "TINYFUSION_CHECKPOINT": path, "TINYFUSION_FREEZE_BACKBONE": frozen}
    assert main(command_settings(tmp_path, clips_folder, **wanted)) == 0
    line = capsys.readouterr().out.splitlines()[4]
    assert f"from {path}; loaded " in line and "; adapted " in line


def test_data_with_a_single_caption_passes_and_says_what_it_cannot_teach(tmp_path: Path, capsys: Capture) -> None:
    write_pair(tmp_path, "only", moving_square(0), "hello")
    assert main(command_settings(tmp_path, tmp_path)) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "[2/9]" in line]
    assert "; note: all 1 clips to train on have the caption 'hello': text teaches nothing" in line


def test_the_command_to_run_next_is_quoted_for_a_shell() -> None:
    assert training_command("default", []) == "python main.py train"
    command = training_command("debug", ["DATA_DIR=my clips", "SEED=7"])
    assert command == "python main.py train --preset debug --set 'DATA_DIR=my clips' --set SEED=7"


def test_help_answers_without_loading_torch() -> None:
    code = "import sys\nfrom verify_training_ready import main\ntry:\n    main(['--help'])\nexcept SystemExit as e:\n"
    code += "    print(e.code, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "0 False" and "--preset" in done.stdout and done.stderr == ""


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, 3),
        ({"NUM_FRAMES": 2}, 2),
        ({"MODEL_ARCHITECTURE": "vivit", "NUM_FRAMES": 12, "TUBELET_FRAMES": 2}, 6),
        ({"MODEL_ARCHITECTURE": "vivit", "NUM_FRAMES": 12, "TUBELET_FRAMES": 3}, 9),
        ({"MODEL_ARCHITECTURE": "vivit", "NUM_FRAMES": 12, "TUBELET_FRAMES": 12}, 12),
    ],
)
def test_the_clip_is_shortened_to_three_frames_or_three_tubelets(
    settings: dict[str, object], wanted: int, debug_config: MakeConfig
) -> None:
    assert readiness.shortened(debug_config(**settings)).NUM_FRAMES == wanted


# ---- Failures of what must be there ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "number", "words"),
    [
        ({"BATCHSIZE": 2}, 1, "no setting 'BATCHSIZE'. Did you mean BATCH_SIZE?"),
        ({"NUM_FRAMES": 1}, 1, "NUM_FRAMES=1 is outside its limits"),
        ({"MIXED_PRECISION": "fp16"}, 1, "fp16 needs a GPU"),
        ({"DATA_DIR": "nowhere"}, 2, "DATA_DIR=nowhere is no folder. Put NAME.mp4"),
        ({"TEXT_ENCODER": "package:none"}, 3, "no installed package of that name carries a model"),
        ({"TINYFUSION_INIT": "pretrained", "TINYFUSION_CHECKPOINT": "none.pt"}, 5, "none.pt does not exist"),
        ({"TINYFUSION_FREEZE_BACKBONE": True}, 5, "random blocks would be frozen"),
        ({"TINYFUSION_FREEZE_BACKBONE": True, "MODEL_ARCHITECTURE": "unet3d"}, 5, "TINYFUSION_FREEZE_BACKBONE=True"),
    ],
)
def test_a_mistake_stops_at_its_check_with_a_line(
    overrides: dict[str, object], number: int, words: str, here: Path, clips_folder: Path, capsys: Capture
) -> None:
    line = failure(command_settings(here, clips_folder, **overrides), capsys)
    assert line.startswith(f"[{number}/{NUM_CHECKS}] ") and words in line


def test_a_broken_clip_and_an_empty_caption_are_named_with_reason_and_cure(tmp_path: Path, capsys: Capture) -> None:
    folder = write_clips_folder(tmp_path / "clips")
    (folder / "signer0__clip0.txt").write_text("")
    (folder / "signer1__clip1.gif").write_bytes(b"GIF89a and no more")
    line = failure(command_settings(tmp_path, folder), capsys)
    assert line.startswith(f"[2/{NUM_CHECKS}] ") and "2 unusable" in line and "Mend or remove" in line
    assert "signer0__clip0.gif has an empty text" in line
    assert "signer1__clip1.gif" in line.replace("signer0__clip0.gif", "")


def test_missing_and_unlisted_clips_are_said_and_stop_nothing(tmp_path: Path, debug_config: MakeConfig) -> None:
    """Every published set has some."""
    folder = write_clips_folder(tmp_path / "clips")
    (folder / "signer0__clip0.txt").unlink()
    (folder / "signer1__clip1.gif").unlink()
    data, rows = readiness.read_clips(debug_config(DATA_DIR=str(folder)))
    assert len(data) == len(rows) == 6
    told = readiness.left_out(data)
    assert "1 listed but missing" in told and "1 unlisted" in told and str(data.problems[0].text) in told


def test_a_data_folder_without_clips_fails(tmp_path: Path, capsys: Capture) -> None:
    assert "prepare-data" in failure(command_settings(tmp_path, tmp_path), capsys)


def test_a_weights_file_that_is_none_fails(tmp_path: Path, clips_folder: Path, capsys: Capture) -> None:
    path = tmp_path / "dit.pt"
    path.write_bytes(b"not found")
    given = command_settings(tmp_path, clips_folder, TINYFUSION_INIT="auto", TINYFUSION_CHECKPOINT=path)
    assert failure(given, capsys).startswith(f"[5/{NUM_CHECKS}] ")


def test_published_weights_with_a_zeroed_output_layer_fail_although_training_could_mend_them(
    tmp_path: Path, clips_folder: Path, capsys: Capture
) -> None:
    path = published_file(tmp_path / "dit.pt", output_scale=0.0)
    given = command_settings(tmp_path, clips_folder, TINYFUSION_INIT="auto", TINYFUSION_CHECKPOINT=path)
    line = failure(given, capsys)
    assert line.startswith(f"[5/{NUM_CHECKS}] ") and f"After loading {path} the output is zero everywhere" in line


def test_a_text_encoder_that_would_be_trained_fails(encoder: TextEncoder) -> None:
    assert readiness.check_frozen(encoder) == sum(p.numel() for p in encoder.model.parameters())
    own = TextEncoder(encoder.name, max_length=32)
    own.model.train()
    with pytest.raises(CheckError, match="not frozen .it is in training mode"):
        readiness.check_frozen(own)
    own.model.embeddings.requires_grad_(True)
    with pytest.raises(CheckError, match="not frozen .trainable: embeddings"):
        readiness.check_frozen(own)


# ---- Failures of what must work --------------------------------------------------------------------------------------


def test_a_frozen_model_fails_with_the_cure(debug_config: MakeConfig, encoder: TextEncoder) -> None:
    model, example = ready(debug_config(), encoder)
    model.requires_grad_(False)
    with pytest.raises(TrainingError, match="No trainable parameters. Set TINYFUSION_FREEZE_BACKBONE = False"):
        steps_of(model, example, debug_config())


def test_a_zeroed_and_frozen_output_layer_fails(debug_config: MakeConfig, encoder: TextEncoder) -> None:
    model, example = ready(debug_config(), encoder)
    zero_and_freeze(model.backbone.dit.final_layer.linear)
    steps = steps_of(model, example, debug_config())
    assert len(steps.losses) == readiness.MAX_IDLE_STEPS and len(steps.silent) == steps.num_trainable
    output = readiness.predict(model, example, example.text)
    with pytest.raises(CheckError, match="After 2 steps the output is zero everywhere; wanted a picture. Mend it"):
        readiness.check_output(output, when="After 2 steps", cure="Mend it.")


def test_a_constant_output_and_one_that_is_not_finite_fail() -> None:
    constant = torch.tensor([0.1, -0.7, 0.3])[None, :, None, None, None].expand(1, 3, 2, 4, 4)
    with pytest.raises(CheckError, match="the same everywhere"):
        readiness.check_output(constant, when="Now", cure="")
    with pytest.raises(CheckError, match="not finite"):
        readiness.check_output(torch.full((1, 3, 2, 4, 4), torch.nan), when="Now", cure="")
    spread = torch.randn(1, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    assert readiness.check_output(spread, when="Now", cure="") == pytest.approx(1, abs=0.4)


def test_a_tensor_that_the_output_does_not_use_is_named(debug_config: MakeConfig, encoder: TextEncoder) -> None:
    model, example = ready(debug_config(), encoder)
    model.backbone.forgotten = nn.Parameter(torch.ones(3))
    steps = steps_of(model, example, debug_config())
    assert steps.silent == ["backbone.forgotten"] and len(steps.losses) == 3 + readiness.MAX_IDLE_STEPS
    with pytest.raises(CheckError, match="1 of 83 .* had no gradient in 5 steps: backbone.forgotten; wanted"):
        readiness.check_gradients(steps, architecture="tinyfusion")


def test_a_gate_that_can_never_open_is_found_by_the_gradients(debug_config: MakeConfig, encoder: TextEncoder) -> None:
    model, example = ready(debug_config(), encoder)
    zero_and_freeze(model.backbone.adapters[1].up)
    steps = steps_of(model, example, debug_config())
    assert steps.silent and all(name.startswith("backbone.adapters.1.") for name in steps.silent)
    with pytest.raises(CheckError, match=r"adapters.1.down.weight; .* \(and \d+ more\)"):
        readiness.check_gradients(steps, architecture="tinyfusion")


def test_numbers_that_break_down_fail(debug_config: MakeConfig, encoder: TextEncoder) -> None:
    config = debug_config()
    model, example = ready(config, encoder)
    linear = model.backbone.dit.final_layer.linear
    hook = linear.bias.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(CheckError, match="Step 1: gradient not finite in backbone.dit.final_layer.linear.bias"):
        steps_of(model, example, config)
    hook.remove()
    nn.init.constant_(linear.bias, torch.nan)
    with pytest.raises(CheckError, match="The loss of step 1 is nan"):
        steps_of(model, example, config)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_text_blind_model_fails(dtype: torch.dtype | None, debug_config: MakeConfig, encoder: TextEncoder) -> None:
    model, example = ready(debug_config(), encoder)
    model.autocast_dtype = dtype
    zero_and_freeze(model.backbone.text.pooled[-1], model.backbone.text.norm)
    steps_of(model, example, debug_config())
    output = readiness.predict(model, example, example.text)
    assert readiness.check_output(output, when="After it", cure="") > 0
    with pytest.raises(CheckError, match=r"changes the output by 0\.0e\+00 .* The text does not reach the video"):
        readiness.check_text(model, example, output, architecture="tinyfusion")


def test_the_example_has_two_different_captions_even_where_the_data_has_one(
    debug_config: MakeConfig, encoder: TextEncoder
) -> None:
    config = debug_config(NUM_FRAMES=2)
    data = load_dataset(config)
    for rows, texts in (([3, 4], [data.texts[3], data.texts[4]]), ([3], [readiness.OTHER_CAPTION, data.texts[3]])):
        example = readiness.make_example(config, data, rows, encoder, CPU)
        assert torch.equal(example.video, data.videos([3])) and example.video.shape == (1, 3, 2, 16, 16)
        for features, text in zip((example.text, example.other), texts, strict=True):
            whole = encoder.encode([text])
            assert torch.equal(features.pooled, whole.pooled) and bool(features.mask.all())
            assert torch.equal(features.tokens, whole.tokens[:, : features.tokens.shape[1]])
        assert example.text.tokens.shape == example.other.tokens.shape and not example.text.pooled.equal(
            example.other.pooled
        )


@pytest.mark.parametrize("architecture", ["tinyfusion", "unet3d"])
def test_an_error_where_it_moves_counts_as_the_setting_says(
    architecture: str, debug_config: MakeConfig, encoder: TextEncoder
) -> None:
    model, example = ready(debug_config(MODEL_ARCHITECTURE=architecture), encoder)
    for weight in (0.0, 8.0):
        assert readiness.check_motion(model, example, weight) == pytest.approx(1 + weight, rel=1e-3)


def test_a_loss_that_forgets_the_weight_of_motion_is_told(
    debug_config: MakeConfig, encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, example = ready(debug_config(), encoder)
    forward = Text2Sign.forward
    monkeypatch.setattr(Text2Sign, "forward", lambda self, *given: forward(self, *given[:3]))
    with pytest.raises(CheckError, match="counts 1 times as much as elsewhere; wanted 9, for MOTION_WEIGHT=8"):
        readiness.check_motion(model, example, 8.0)
