"""text2sign.py: the names of diffusers, the bits of ``sample``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from config import ConfigError
from main import main
from methods.sharing.hub import HubError
from text2sign import Text2SignPipeline
from utils.checkpoints.file import load
from utils.reading.reader import read_frames


@pytest.fixture(scope="module")
def pipe(trained_checkpoint: Path) -> Text2SignPipeline:
    made = Text2SignPipeline.from_pretrained(trained_checkpoint, device="cpu")
    made.set_progress_bar_config(disable=True)
    return made


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_same_request_gives_the_bits_of_sample(
    pipe: Text2SignPipeline, trained_checkpoint: Path, tmp_path: Path
) -> None:
    flags = ["--seed", "7", "--steps", "3", "--guidance_scale", "1.5", "--format", "frames", "--output", str(tmp_path)]
    prompts = ["hello", "water"]
    words = [word for prompt in prompts for word in ("--text", prompt)]
    assert main(["sample", "--checkpoint", str(trained_checkpoint), *words, *flags]) == 0
    out = pipe(prompts, num_inference_steps=3, guidance_scale=1.5, generator=seeded(7))
    files = sorted(tmp_path.iterdir())
    assert len(files) == len(out.frames) == 2
    for file, pictures, clip in zip(files, out.frames, out.clips, strict=True):
        wanted = read_frames(file)
        assert np.array_equal(np.stack([np.asarray(picture) for picture in pictures]), wanted)
        assert np.array_equal(clip.frames, wanted)


def test_what_was_saved_comes_back_with_every_bit(
    pipe: Text2SignPipeline, trained_checkpoint: Path, tmp_path: Path
) -> None:
    pipe.save_pretrained(tmp_path / "model")
    again = Text2SignPipeline.from_pretrained(str(tmp_path / "model"), device="cpu")
    again.set_progress_bar_config(disable=True)
    state = pipe.loaded.model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.loaded.model.state_dict().items())
    assert again.loaded.sha256 == load(trained_checkpoint, verify=False)["sha256"]
    ours, theirs = (each("hello", output_type="np").frames for each in (pipe, again))
    assert np.array_equal(ours, theirs)


def test_frames_come_as_pictures_arrays_or_tensors(pipe: Text2SignPipeline) -> None:
    kinds = {kind: pipe("hello", num_inference_steps=1, output_type=kind).frames for kind in ("pil", "np", "pt")}
    assert kinds["np"].shape == (1, 4, 16, 16, 3) and kinds["np"].dtype == np.float32
    assert kinds["pt"].shape == (1, 4, 3, 16, 16)
    assert np.array_equal(kinds["pt"].permute(0, 1, 3, 4, 2).numpy(), kinds["np"])
    assert np.array_equal(np.asarray(kinds["pil"][0][3]), (kinds["np"][0, 3] * 255).round().astype(np.uint8))


def test_a_generator_stands_for_its_seed_once(pipe: Text2SignPipeline) -> None:
    draw = seeded(3)
    first, second = (pipe("hello", num_inference_steps=1, generator=draw).clips[0] for _ in range(2))
    again = pipe("hello", num_inference_steps=1, generator=seeded(3)).clips[0]
    assert np.array_equal(first.frames, again.frames) and first.facts.seed == 3
    assert not np.array_equal(first.frames, second.frames)
    each = pipe(["hello", "no"], num_inference_steps=1, generator=[seeded(3), seeded(4)]).clips
    assert [clip.facts.seed for clip in each] == [3, 4]


def test_several_clips_of_a_prompt_are_those_of_num_samples(pipe: Text2SignPipeline) -> None:
    out = pipe(["hello", "no"], num_inference_steps=1, num_videos_per_prompt=2)
    assert [(clip.facts.prompt, clip.facts.index) for clip in out.clips] == [
        ("hello", 0), ("hello", 1), ("no", 0), ("no", 1),
    ]  # fmt: skip


def test_a_dtype_is_that_of_the_products_and_the_weights_stay(pipe: Text2SignPipeline) -> None:
    try:
        out = pipe.to("cpu", torch.bfloat16)("hello", num_inference_steps=1)
        assert out.clips[0].facts.precision == "bfloat16"
        assert {parameter.dtype for parameter in pipe.loaded.model.parameters()} == {torch.float32}
        with pytest.raises(ConfigError, match="float16 needs a GPU"):
            pipe.to(torch.float16)
    finally:
        pipe.to(torch.float32)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"prompt": " "}, "empty"),
        ({"prompt": []}, "no prompt"),
        ({"prompt": "a", "num_inference_steps": 0}, "INFERENCE_TIMESTEPS"),
        ({"prompt": "a", "num_frames": 5}, "this model makes 4"),
        ({"prompt": "a", "output_type": "latent"}, "wanted pil, np or pt"),
        ({"prompt": "a", "num_videos_per_prompt": 0}, "at least 1"),
        ({"prompt": "a", "generator": []}, "0 generators for 1 prompts"),
    ],
)
def test_a_mistake_is_one_clear_line(pipe: Text2SignPipeline, wrong: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        pipe(**wrong)


def test_a_name_that_is_nowhere_is_one_clear_line() -> None:
    with pytest.raises(HubError, match="is no folder here, and the hub has no such model"):
        Text2SignPipeline.from_pretrained("nobody/nothing")


def test_a_prompt_far_from_all_captions_is_told(pipe: Text2SignPipeline, capsys: pytest.CaptureFixture[str]) -> None:
    near, far = pipe(["hello", "the quarterly report of a steel mill"], num_inference_steps=1).nearness
    assert not near.is_far and near.nearest[0] == ("hello", 0.0) and far.is_far
    told = capsys.readouterr().err
    assert "steel mill' resembles nothing that was trained on" in told and "'hello' resembles" not in told
