"""methods/sampling/generate.py: requests, clips, files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import PIL
import pytest
import torch
import transformers
from PIL import Image

from config import VERSION, make_config
from diffusion.text2sign import ARCHITECTURES, create_text2sign
from methods.sampling.generate import generate, noise_of
from methods.sampling.loading import LoadedModel, load_model
from methods.sampling.provenance import Request, file_name, file_stem
from methods.sampling.queue import make_queue, work
from models.text_encoder import TextEncoder
from models.text_features import TextFeatures
from utils.processes import World


@pytest.fixture(scope="module")
def loaded(trained_checkpoint: Path) -> LoadedModel:
    return load_model(trained_checkpoint)


# ---- Requests and files ---------------------------------------------------------------------------------------------


def test_a_requests_noise_depends_on_prompt_seed_and_index_and_on_nothing_else() -> None:
    def draw(request: Request) -> list[float]:
        return torch.randn(4, generator=noise_of(request)).tolist()

    first = draw(Request("hello", 1, 0))
    torch.manual_seed(99)
    assert draw(Request("hello", 1, 0)) == first
    others = [draw(Request("hello!", 1, 0)), draw(Request("hello", 2, 0)), draw(Request("hello", 1, 1))]
    assert first not in others and len({tuple(values) for values in others}) == 3


def test_a_written_clip_tells_in_its_comment_everything_that_decided_it(loaded: LoadedModel, tmp_path: Path) -> None:
    config = replace(loaded.config, ETA=0.5, GUIDANCE_SCALE=3.0, FPS=5, EXPERIMENT_NAME="other")
    other = replace(loaded, config=config, step=40, path=Path("here/it.pt"), sha256="ab" * 32, batch_size=2)
    requests = [Request("yes", 7), Request("gr\u00fc\u00df 'dich' \u2764", 7, 2), Request("no", 8)]
    clips = generate(other, requests)
    path = tmp_path / file_name(clips[1].facts)
    clips[1].write(path)
    with Image.open(path) as image:
        found = json.loads(image.info["comment"].decode("utf-8"))
        assert image.n_frames == 4
    num_tokens = other.encoder.encode([requests[1].prompt]).mask.shape[1]
    assert found == {
        "text2sign_clip": 3, "prompt": requests[1].prompt, "seed": 7, "index": 2, "step": 40, "experiment": "other",
        "checkpoint": "here/it.pt", "checkpoint_sha256": "ab" * 32, "checkpoint_sha256_of": "seal",
        "sampler": "ddim", "num_steps": 4, "eta": 0.5, "guidance_scale": 3.0, "guidance_low": 0.0, "guidance_high": 1.0,
        "fps": 5, "scale": 1,
        "batch_size": 2, "batch_position": 1, "num_tokens": num_tokens, "frame_chunk_size": 2, "deterministic": False,
        "device": "cpu", "hardware": torch.backends.cpu.get_cpu_capability(), "precision": "float32", "num_threads": 1,
        "torch": torch.__version__, "transformers": transformers.__version__, "pillow": PIL.__version__,
        "av": av.__version__, "version": VERSION,
    }  # fmt: skip
    assert path.name.endswith("_step000040_4xeta0.5_guide3_seed7_02.gif") and path.name.isascii()
    places = [(clip.facts.batch_size, clip.facts.batch_position, clip.facts.num_tokens) for clip in clips]
    assert places == [(2, 0, num_tokens), (2, 1, num_tokens), (1, 0, 3)]


def test_clips_that_differ_in_anything_have_different_names(loaded: LoadedModel) -> None:
    names = set()
    changes = (
        {}, {"ETA": 1.0}, {"SAMPLER": "ddpm"}, {"SAMPLER": "dpm++"}, {"GUIDANCE_SCALE": 0.0}, {"GUIDANCE_HIGH": 0.5}, 
        {"GUIDANCE_LOW": 0.5},
        {"INFERENCE_TIMESTEPS": 3},
    )  # fmt: skip
    for overrides in changes:
        requests = [Request("hello", 1), Request("hello", 2), Request("hello", 1, 1), Request("Hello.", 1)]
        for step in (1, 2):
            other = replace(loaded.with_settings(**overrides), step=step)
            names |= {file_name(other.facts(request)) for request in requests}
    assert len(names) == len(changes) * 4 * 2


PROMPTS = [
    "hello",
    "hello!",
    "hello ",
    "hello-you",
    "hello you",
    "hello  you",
    "",
    "!!!",
    "\u00fc",
    "\u4f60\u597d",
    "a/b",
    "a\\b",
]
PROMPTS += ["../etc", "x" * 61, "x" * 62, "a b" * 30, "a b" * 31, "prompt", "CON", "nul.gif"]


def test_file_names_are_plain_and_distinct() -> None:
    stems = [file_stem(prompt) for prompt in PROMPTS]
    assert len(set(stems)) == len(PROMPTS)
    for stem in stems:
        assert stem.isascii() and 0 < len(stem) <= 73 and stem.replace("-", "").isalnum()
    assert file_stem("thank you") == "thank-you" and file_stem("letter A in German").startswith("letter-A-in-German-")


def test_thousands_of_prompts_without_a_latin_letter_have_distinct_names() -> None:
    prompts = [chr(0x4E00 + i) for i in range(20_000)]
    assert len({file_stem(prompt) for prompt in prompts}) == len(prompts)


def test_file_names_are_distinct_where_case_does_not_count() -> None:
    assert file_stem("letter A").lower() != file_stem("letter a").lower()


# ---- Generating -----------------------------------------------------------------------------------------------------


def test_clips_come_in_the_order_of_requests_whatever_the_batch(loaded: LoadedModel) -> None:
    requests = [Request(prompt, 3, index) for prompt in ("yes", "where is the station", "no") for index in range(2)]
    reported = []
    together = generate(replace(loaded, batch_size=4), requests, on_step=reported.append)
    assert reported == [4] * 4 + [2] * 4  # clips of each batch, at each of 4 steps
    for request, clip in zip(requests, together, strict=True):
        (alone,) = generate(loaded, [request])
        assert clip.frames.shape == (4, 16, 16, 3) and clip.frames.dtype == np.uint8
        assert int(np.abs(clip.frames.astype(int) - alone.frames).max()) <= 1  # a level, where rounding falls otherwise
    assert not np.array_equal(together[0].frames, together[1].frames)


def test_the_texts_of_a_batch_are_encoded_once(loaded: LoadedModel, tmp_path: Path) -> None:
    heard = []

    class Listening(TextEncoder):
        def encode(self, prompts: list[str]) -> TextFeatures:
            heard.append(prompts)
            return super().encode(prompts)

    other = replace(loaded, encoder=Listening(loaded.config.TEXT_ENCODER, max_length=32), batch_size=2)
    requests = [Request(prompt, 3) for prompt in ("yes", "no", "please")]
    queue = make_queue(other, requests, tmp_path, process=World())
    assert sum(is_new for _, is_new in work(other, queue)) == 3
    assert heard == [["yes", "no"], ["please"]]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("precision", [None, torch.bfloat16], ids=["float32", "bfloat16"])
def test_size_and_place_in_the_batch_and_length_of_text_decide_every_bit(
    encoder: TextEncoder, architecture: str, precision: torch.dtype | None
) -> None:
    """The neighbours' prompts and noise do not, so a clip's comment can do without them."""
    model = create_text2sign(make_config("debug", {"MODEL_ARCHITECTURE": architecture}), encoder).eval()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():  # output layers start at zero
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))
    model.autocast_dtype = precision
    settings = {"num_steps": 3, "eta": 0.5, "guidance_scale": 2.0}
    requests = [Request("yes", 1), Request("where is the station now please", 1), Request("thank you", 2)]
    text = encoder.encode([request.prompt for request in requests])
    together = model.sample(text, [noise_of(request) for request in requests], **settings)
    for place, request in enumerate(requests):
        own = encoder.encode([request.prompt] * 3).padded(text.mask.shape[1])
        again = model.sample(own, [noise_of(request) for _ in requests], **settings)
        assert torch.equal(again[place], together[place])


def test_an_output_that_is_a_file_is_refused_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from main import main

    taken = tmp_path / "taken"
    taken.write_text("mine")
    assert main(["sample", "--text", "hello", "--checkpoint", "none.pt", "--output", str(taken)]) == 2
    assert "is a file; wanted a folder" in capsys.readouterr().err and taken.read_text() == "mine"
