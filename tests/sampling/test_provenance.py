"""methods/sampling/provenance.py: what a clip's comment says, and every comment that is not one of ours."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

from config import VERSION
from main import main
from methods.sampling.provenance import ENVIRONMENT, KEY, Provenance, ProvenanceError, from_json, read
from tests.conftest import command_settings, moving_square
from utils.checkpoints.file import CheckpointError, load
from utils.checkpoints.listing import same_beside
from utils.checkpoints.seal import LABEL
from utils.video import VideoError
from utils.writing import FORMS, Form, read_comment, write_clip

ROOT = Path(__file__).resolve().parents[2]
FACTS = Provenance(
    prompt="thank you", seed=42, index=0, checkpoint="checkpoints/debug/latest_checkpoint.pt",
    checkpoint_sha256="0f" * 32, checkpoint_sha256_of="seal", step=8, experiment="debug", sampler="ddim", num_steps=4,
    eta=0.25, guidance_scale=2.0, guidance_low=0.0, guidance_high=1.0,
    fps=8, scale=1, batch_size=3, batch_position=2, num_tokens=7, frame_chunk_size=4,
    deterministic=False, device="cpu", hardware="AVX512", precision="bfloat16", num_threads=2, torch="2.15.0",
    transformers="5.0", pillow="12.0", av="18.1", version="0.1.0",
)  # fmt: skip


def with_comment(folder: Path, comment: str) -> Path:
    write_clip(folder / "clip.gif", moving_square(0), fps=8, comment=comment)
    return folder / "clip.gif"


# ---- There and back -------------------------------------------------------------------------------------------------


PROMPTS = {
    "plain": "thank you",
    "not ASCII": "gr\u00fc\u00df \u2764 \U0001f44b",
    "JSON": '"quoted" \\ and {"text2sign_clip": 9}',
    "10,000 bytes of emoji": "\U0001f44b" * 2_500,
    "10,000 bytes": "x" * 10_000,
    "control characters": "a\x00b\x1b[31m\u202e",
    "empty": "",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_the_facts_come_back_from_every_form_as_they_were(tmp_path: Path, form: Form, prompt: str) -> None:
    facts = replace(FACTS, prompt=prompt)
    write_clip(tmp_path / f"clip{form.suffix}", moving_square(0), fps=8, comment=facts.to_json())
    assert read(tmp_path / f"clip{form.suffix}") == facts


INTERVAL = ("guidance_low", "guidance_high")


@pytest.mark.parametrize(("version", "lacks"), [(1, ("scale", "av", *INTERVAL)), (2, INTERVAL)])
def test_a_comment_of_an_older_format_is_read_still(tmp_path: Path, version: int, lacks: tuple[str, ...]) -> None:
    before = {KEY: version, **{name: value for name, value in asdict(FACTS).items() if name not in lacks}}
    assert read(with_comment(tmp_path, json.dumps(before))) == replace(FACTS, av="" if "av" in lacks else FACTS.av)


def test_weights_that_were_never_saved_have_no_hash(tmp_path: Path) -> None:
    facts = replace(FACTS, checkpoint_sha256="", checkpoint_sha256_of="unsaved")
    assert from_json(facts.to_json(), tmp_path) == facts


def test_the_version_is_that_of_pyproject() -> None:
    assert re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE) == [VERSION]


def test_the_environment_names_facts() -> None:
    assert set(ENVIRONMENT) < {field.name for field in fields(Provenance)}


# ---- Comments of a GIF ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 254, 255, 256, 510, 511, 70_000])
def test_a_comment_of_any_length_is_read_as_it_was_written(tmp_path: Path, length: int) -> None:
    text = "\u00e4" * (length // 2) + "x" * (length % 2)
    assert read_comment(with_comment(tmp_path, text)) == text


def test_the_first_of_several_comments_counts(tmp_path: Path) -> None:
    path = with_comment(tmp_path, FACTS.to_json())
    path.write_bytes(path.read_bytes()[:-1] + b"\x21\xfe\x04GIMP\0;")
    assert read(path) == FACTS


def test_no_gif_has_no_comment(tmp_path: Path) -> None:
    (tmp_path / "text.gif").write_text("hello")
    for name, found in (("text.gif", "wanted a GIF"), ("none.gif", "cannot be read"), (".", "without a frame")):
        with pytest.raises(VideoError, match=found):
            read(tmp_path / name)


# ---- Comments that are not ours -------------------------------------------------------------------------------------


def changed(**values: object) -> str:
    return json.dumps({KEY: 3, **asdict(FACTS), **values})


def without(name: str) -> str:
    return json.dumps({key: value for key, value in {KEY: 3, **asdict(FACTS)}.items() if key != name})


HOSTILE = {
    "empty": ("", "has no comment: Text2Sign did not write it, or another program dropped it"),
    "a caption": ("hello; spoken-to-signed (MIT)", "not of Text2Sign's sampler: 'hello; spoken"),
    "of before": (json.dumps({"prompt": "hello", "seed": 1}), "not of Text2Sign's sampler"),
    "a list": ("[1]", "not of Text2Sign's sampler"),
    "a number": ("1", "not of Text2Sign's sampler"),
    "deep": ("[" * 100_000, "not of Text2Sign's sampler"),
    "a megabyte": (changed(prompt="x" * 2**20), "not of Text2Sign's sampler"),
    "a number of 10,000 digits": (changed(seed=1).replace(': 1, "index"', f': {"9" * 10_000}, "index"'), "sampler"),
    "NaN": (FACTS.to_json().replace("0.25", "NaN"), "eta=nan is outside its limits"),
    "endless": (changed(eta=0.25).replace("0.25", "1e999"), "eta=inf is outside its limits"),
    "newer": (changed(**{KEY: 4}), "format 4; this version reads 3. Update"),
    "no format": (changed(**{KEY: True}), "format True; this version reads 3"),
    "format 0": (changed(**{KEY: 0}), "format 0; this version reads 3"),
    "unknown": (changed(colour="red"), "'colour' in its comment, or has it too many"),
    "type": (changed(seed="42"), "seed='42' is str; wanted int"),
    "truth": (changed(seed=True), "seed=True is bool; wanted int"),
    "nothing": (changed(prompt=None), "prompt=None is NoneType; wanted str"),
    "negative": (changed(index=-1), "index=-1 is outside its limits"),
    "sampler": (changed(sampler="dpm"), "sampler='dpm' is unknown"),
    "device": (changed(device="cuda:0"), "device='cuda:0' is unknown"),
    "threads": (changed(num_threads=10**9), "num_threads=1000000000 is outside its limits"),
    "batch": (changed(batch_size=10**9), "batch_size=1000000000 is outside its limits"),
    "place": (changed(batch_position=3), "batch_position=3 of batch_size=3, from 0"),
    "escape": (changed(torch="2\x1b[31m\n2"), r"torch='2\x1b[31m\n2' is no plain text"),
    "half a character": (changed(prompt="\ud83d"), r"prompt='\ud83d' is no plain text"),
}


@pytest.mark.parametrize(("comment", "found"), HOSTILE.values(), ids=HOSTILE)
def test_a_comment_that_is_not_ours_is_refused_in_one_short_line(tmp_path: Path, comment: str, found: str) -> None:
    path = with_comment(tmp_path, comment)
    with pytest.raises(ProvenanceError) as caught:
        read(path)
    message = str(caught.value)
    assert found in message and message.startswith(str(path)) and message.isprintable()
    assert len(message) < len(str(path)) + 400


@pytest.mark.parametrize("name", [field.name for field in fields(Provenance)])
def test_every_fact_is_needed_and_checked(name: str) -> None:
    with pytest.raises(ProvenanceError, match=f"lacks '{name}' in its comment"):
        from_json(without(name), Path("clip.gif"))
    with pytest.raises(ProvenanceError, match=rf"{name}=\[\] is list"):
        from_json(changed(**{name: []}), Path("clip.gif"))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = with_comment(tmp_path, FACTS.to_json())
    path.write_bytes(path.read_bytes().replace(b"thank you", b"thank \xff\xfeu"))
    with pytest.raises(ProvenanceError, match=r"prompt='thank .udcff.udcfeu' is no plain text"):
        read(path)


# ---- Which weights --------------------------------------------------------------------------------------------------


def test_a_sealed_file_is_known_by_its_seal_and_another_not_at_all(trained_checkpoint: Path, tmp_path: Path) -> None:
    data = trained_checkpoint.read_bytes()
    sealed = load(trained_checkpoint)["sha256"]
    assert sealed == data[-64:].decode() and data[:-64].endswith(LABEL)
    (tmp_path / "plain.pt").write_bytes(b"abc")
    assert same_beside(tmp_path / "plain.pt", sealed) is None
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).write_bytes(data)
    assert same_beside(tmp_path / "plain.pt", sealed) == tmp_path / "a.pt"


@pytest.mark.parametrize("name", ["none.pt", "."])
def test_no_file_has_no_hash(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="See what there is: python main.py checkpoints"):
        load(tmp_path / name, verify=False)


def test_previews_name_the_state_that_was_saved_at_their_step_or_none(here: Path, clips_folder: Path) -> None:
    """Two epochs of 4 steps, previews after both, saved after the second only."""
    epochs = {"NUM_EPOCHS": 2, "SAVE_EVERY_EPOCHS": 2, "SAMPLE_EVERY_EPOCHS": 1}
    assert main(["train", *command_settings(here, clips_folder, **epochs)]) == 0
    found = {facts.step: facts for facts in map(read, sorted(here.rglob("previews/*.gif")))}
    assert {step: facts.checkpoint_sha256_of for step, facts in found.items()} == {4: "unsaved", 8: "seal"}
    latest = here / "checkpoints" / "debug" / "latest_checkpoint.pt"
    assert found[8].checkpoint_sha256 == load(latest)["sha256"]
    assert found[8].checkpoint == str(latest)
