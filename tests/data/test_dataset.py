"""dataset.py: pairs, bad files that are named, statistics, the split, the order of an epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import dataset
from config import UserError, make_config
from dataset import DatasetError, TextToSignDataset, data_identity, parts_of
from tests.conftest import CAPTIONS, moving_square, write_pair
from utils.fingerspelling.folder import MANIFEST
from utils.layouts.pairs import MAX_BYTES
from utils.split import epoch_order, group_of, split_indices


def read(folder: Path, num_frames: int = 4, image_size: int = 16) -> TextToSignDataset:
    return TextToSignDataset(folder, num_frames=num_frames, image_size=image_size)


# ---- Pairs ----------------------------------------------------------------------------------------------------------


def test_every_pair_is_a_clip_in_the_order_of_names(clips_folder: Path) -> None:
    data = read(clips_folder)
    assert len(data) == 8 and data.problems == []
    assert data.names == sorted(data.names) and set(data.texts) == set(CAPTIONS)
    assert data.texts[data.names.index("signer2__clip6")] == CAPTIONS[6]


def test_a_clip_has_the_stated_shape_range_and_pixels(clips_folder: Path) -> None:
    data = read(clips_folder)
    index = data.names.index("signer0__clip0")
    video = data.videos([index])[0]
    assert video.shape == (3, 4, 16, 16) and video.dtype == torch.float32
    np.testing.assert_array_equal(data.frames(index), moving_square(0))
    torch.testing.assert_close(video, torch.from_numpy(moving_square(0)).permute(3, 0, 1, 2) / 127.5 - 1)
    assert data.texts[index] == "hello"
    torch.testing.assert_close(data.videos([index, 3])[0], video)


def test_sub_folders_and_upper_case_suffixes_belong_to_the_data(tmp_path: Path) -> None:
    write_pair(tmp_path / "a" / "b", "deep", moving_square(0), "deep down")
    write_pair(tmp_path, "loud", moving_square(1), "loud")
    (tmp_path / "loud.gif").rename(tmp_path / "loud.GIF")
    (tmp_path / "loud.txt").rename(tmp_path / "loud.Txt")
    (tmp_path / "notes.md").write_text("no clip")
    data = read(tmp_path)
    assert (data.names, data.texts, data.problems) == (["a/b/deep", "loud"], ["deep down", "loud"], [])


def test_a_name_with_dots_keeps_them(tmp_path: Path) -> None:
    write_pair(tmp_path, "hello.take", moving_square(0), "one")
    write_pair(tmp_path, "hello.other", moving_square(1), "two")
    assert read(tmp_path).names == ["hello.other", "hello.take"]


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbfhello  you\r\n", b"  hello\n you", "hello\u00a0you".encode()],
    ids=["bom", "lines", "nbsp"],
)
def test_captions_lose_byte_order_marks_and_spare_white_space(tmp_path: Path, content: bytes) -> None:
    write_pair(tmp_path, "a", moving_square(0), "").with_suffix(".txt").write_bytes(content)
    assert read(tmp_path).texts == ["hello you"]


def test_a_longer_clip_is_thinned_evenly_and_a_shorter_one_repeated(tmp_path: Path) -> None:
    levels = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.ones((8, 16, 16, 3), dtype=np.uint8)
    write_pair(tmp_path, "eight", levels, "eight")
    assert read(tmp_path, num_frames=4).frames(0)[:, 0, 0, 0].tolist() == [1, 3, 5, 7]
    data = read(tmp_path, num_frames=16)
    assert data.frames(0)[:, 0, 0, 0].tolist() == [frame for frame in range(8) for _ in range(2)]
    assert data.problems == []


def test_a_wide_clip_loses_both_ends(tmp_path: Path) -> None:
    wide = np.zeros((3, 16, 32, 3), dtype=np.uint8)
    wide[:, :, 8:24] = 255
    write_pair(tmp_path, "wide", wide, "wide")
    assert bool((read(tmp_path).frames(0) == 255).all())


# ---- Bad files ------------------------------------------------------------------------------------------------------


def break_pair(folder: Path, fault: str) -> None:
    """A pair named ``bad`` in ``folder`` with one thing wrong."""
    gif = write_pair(folder, "bad", moving_square(1), "text")
    if fault == "no caption":
        gif.with_suffix(".txt").unlink()
    elif fault == "no clip":
        gif.unlink()
    elif fault == "empty caption":
        gif.with_suffix(".txt").write_text(" \n\t")
    elif fault == "zero bytes":
        gif.write_bytes(b"")
    elif fault == "truncated":
        gif.write_bytes(gif.read_bytes()[:-40])
    elif fault == "no gif":
        gif.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    elif fault == "one frame":
        write_pair(folder, "bad", moving_square(1)[:1], "text")
    elif fault == "huge caption":
        gif.with_suffix(".txt").write_text("x" * (MAX_BYTES + 1))
    elif fault == "a caption of 1 MB":
        gif.with_suffix(".txt").write_text("x " * 500_000)
    elif fault == "a caption without end":
        gif.with_suffix(".txt").unlink()
        gif.with_suffix(".txt").symlink_to("/dev/zero")
    elif fault == "dangling caption":
        gif.with_suffix(".txt").unlink()
        gif.with_suffix(".txt").symlink_to(folder / "nowhere")


BAD = [
    ("no caption", "bad.gif: no text; it is not listed"),
    ("no clip", "bad.txt: no clip; wanted bad.mp4"),
    ("empty caption", "bad.gif has an empty text"),
    ("zero bytes", "bad.gif: empty, 0 bytes"),
    ("truncated", "bad.gif was cut short"),
    ("no gif", "bad.gif: cut short after 108"),
    ("one frame", "bad.gif: one frame; wanted a clip of at least 2"),
    ("huge caption", "bad.txt has 10,001 bytes; wanted at most 10,000"),
    ("a caption of 1 MB", "bad.txt has 1,000,000 bytes; wanted at most 10,000"),
    ("a caption without end", "bad.gif: no text; it is not listed"),
    ("dangling caption", "bad.txt cannot be read: No such file"),
]


@pytest.mark.parametrize(("fault", "reason"), BAD)
def test_a_bad_file_is_named_with_its_reason_and_the_rest_is_used(tmp_path: Path, fault: str, reason: str) -> None:
    write_pair(tmp_path, "good", moving_square(0), "fine")
    break_pair(tmp_path, fault)
    data = read(tmp_path)
    assert data.names == ["good"]
    assert len(data.problems) == 1 and reason in data.problems[0].text and str(tmp_path) in data.problems[0].text


@pytest.mark.parametrize(("fault", "reason"), BAD)
def test_with_no_usable_clip_left_the_first_reason_is_the_error(tmp_path: Path, fault: str, reason: str) -> None:
    break_pair(tmp_path, fault)
    with pytest.raises(DatasetError) as caught:
        read(tmp_path)
    message = str(caught.value)
    assert "holds no usable clip" in message and reason in message and "\n" not in message


def test_a_caption_that_is_no_utf_8_is_read_as_cp1252_and_that_is_said(tmp_path: Path) -> None:
    write_pair(tmp_path, "greet", moving_square(0), "").with_suffix(".txt").write_bytes("grüß".encode("cp1252"))
    for _ in range(2):  # the cache tells it again
        data = TextToSignDataset(tmp_path, num_frames=4, image_size=16, cache_dir=tmp_path / "cache")
        assert data.texts == ["grüß"] and "greet.txt: byte 2 is no UTF-8" in data.remarks[0]


def test_two_clips_that_differ_only_in_the_case_of_the_suffix_do_not_vanish(tmp_path: Path) -> None:
    write_pair(tmp_path, "twice", moving_square(0), "one")
    (tmp_path / "twice.GIF").write_bytes((tmp_path / "twice.gif").read_bytes())
    if len(list(tmp_path.iterdir())) < 3:
        pytest.xfail("this file system does not tell them apart")
    with pytest.raises(DatasetError, match="twice.txt: it belongs to twice.GIF and twice.gif; wanted one"):
        read(tmp_path)


def test_a_missing_folder_and_an_empty_one_say_what_to_do(tmp_path: Path) -> None:
    for folder, found in ((tmp_path / "none", "is no folder"), (tmp_path, "It is empty of clips")):
        with pytest.raises(DatasetError, match=found) as caught:
            read(folder)
        assert "python main.py prepare-data" in str(caught.value) and isinstance(caught.value, UserError)


# ---- Statistics -----------------------------------------------------------------------------------------------------


def test_statistics_are_those_of_numpy_over_the_named_clips(clips_folder: Path) -> None:
    data, indices = read(clips_folder), [0, 2, 5]
    mean, deviation = data.statistics(indices)
    stack = np.stack([data.videos([i])[0].double().numpy() for i in indices])  # (clips, 3, F, H, W)
    wanted = stack.mean(axis=(0, 2), keepdims=True)
    assert mean.shape == (3, 1, 16, 16) and mean.dtype == torch.float32
    np.testing.assert_allclose(mean.numpy(), wanted[0], atol=1e-6)
    assert deviation == pytest.approx(float(np.sqrt(np.square(stack - wanted).mean())), rel=1e-9)


def test_statistics_are_bit_for_bit_those_of_one_clip_after_another(
    clips_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, indices = read(clips_folder), [6, 0, 2, 5, 1]
    total, squares = torch.zeros(3, 1, 16, 16, dtype=torch.float64), 0.0
    for index in indices:
        total += data.videos([index])[0].double().mean(1, keepdim=True)
    mean = total / len(indices)
    for index in indices:
        squares += float((data.videos([index])[0].double() - mean).square().mean())
    for values in (1, 3 * data.frames(0).size, 2**20):  # one clip at a time, three, all
        monkeypatch.setattr(dataset, "STATISTICS_VALUES", values)
        found = data.statistics(indices)
        assert torch.equal(found[0], mean.float()) and found[1] == (squares / len(indices)) ** 0.5


def test_a_batch_is_bit_for_bit_its_clips(clips_folder: Path) -> None:
    data, indices = read(clips_folder), [6, 0, 0, 5]
    batch = data.videos(indices)
    assert batch.is_contiguous() and torch.equal(batch, torch.stack([data.videos([index])[0] for index in indices]))
    levels = data.frames(6).transpose(3, 0, 1, 2).astype(np.float32)
    assert np.array_equal(batch[0].numpy(), levels / np.float32(127.5) - np.float32(1))


# ---- Split and order ------------------------------------------------------------------------------------------------

NAMES = [f"signer{i % 10}__clip{i}" for i in range(60)] + [f"lone{i}" for i in range(10)]


def split_names(names: list[str], fraction: float, seed: int = 0) -> tuple[set[str], set[str]]:
    training, validation = split_indices([group_of(name) for name in names], fraction=fraction, seed=seed)
    assert sorted([*training, *validation]) == list(range(len(names)))  # disjoint and complete
    return {names[i] for i in training}, {names[i] for i in validation}


@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.25, 0.5, 0.9])
def test_the_split_keeps_groups_together_and_holds_out_their_share(fraction: float) -> None:
    training, validation = split_names(NAMES, fraction)
    groups = [{name.split("__")[0] for name in part} for part in (training, validation)]
    assert not groups[0] & groups[1]
    assert len(groups[1]) == round(fraction * 20)


def test_the_split_is_a_function_of_names_and_seed_alone() -> None:
    first = split_names(NAMES, 0.25)
    torch.rand(3)
    assert split_names(NAMES, 0.25) == first
    assert split_names(NAMES[::-1], 0.25) == first  # whatever their order
    assert split_names(NAMES, 0.25, seed=1) != first


def test_every_clip_of_a_held_out_signer_is_validated_on_whatever_its_name(tmp_path: Path) -> None:
    """``hello__1`` beside ``hello`` was taken for a rendering of it, and vanished from both parts."""
    for index, name in enumerate(["hello", "hello__1", "hello__2", "bye"]):
        write_pair(tmp_path / "clips", name, moving_square(index), name)
    (tmp_path / "held_out.json").write_text('{"held_out": ["hello"]}')
    data = read(tmp_path / "clips")
    config = make_config("debug", {"SPLIT_FILE": str(tmp_path / "held_out.json")})
    parts = parts_of(config, data)
    assert [data.names[i] for i in parts.training] == ["bye"]
    assert [data.names[i] for i in parts.held_out] == ["hello", "hello__1", "hello__2"]


def test_what_prepare_data_drew_as_copies_is_known_as_such(tmp_path: Path) -> None:
    for index, name in enumerate(["ase/ase_A", "ase/ase_A__1", "mine__1", "mine"]):
        write_pair(tmp_path, name, moving_square(index), name)
    (tmp_path / "ase" / MANIFEST).write_text('{"copies": {"ase_A__1": "ase_A"}}')
    assert read(tmp_path).copies == {"ase/ase_A__1": "ase/ase_A"}
    for content in ("no JSON", "[]", "{}", '{"copies": ["ase_A__1"]}'):
        (tmp_path / "ase" / MANIFEST).write_text(content)
        assert read(tmp_path).copies == {}


def test_the_same_name_in_another_folder_is_another_group() -> None:
    training, validation = split_names(["a/s__1", "a/s__2", "b/s__1", "b/s__2"], 0.5)
    assert {name[0] for name in training} != {name[0] for name in validation}


def test_a_group_is_of_the_file_s_own_name_not_of_a_folder() -> None:
    names = [f"my__data/{name}" for name in "abcdefgh"]
    training, validation = split_names(names, 0.25)
    assert (len(training), len(validation)) == (6, 2)
    training, validation = split_names(["x__y/s__1", "x__y/s__2", "x__z/s__1", "x__z/s__2"], 0.5)
    assert {name[:4] for name in training} != {name[:4] for name in validation}


def test_the_identity_of_data_is_of_names_and_captions_whatever_their_order(clips_folder: Path, tmp_path: Path) -> None:
    data = read(clips_folder)
    identity = data_identity(data, [0, 1, 2])
    assert identity == data_identity(read(clips_folder), [2, 0, 1]) and identity["num_clips"] == 3
    assert identity["digest"] != data_identity(data, [0, 1, 3])["digest"]
    data.texts[1] += "!"
    assert identity["digest"] != data_identity(data, [0, 1, 2])["digest"]


@pytest.mark.parametrize(("num", "fraction", "held_out"), [(1, 0.5, 0), (2, 0.01, 1), (2, 0.9, 1), (8, 0.0, 0)])
def test_at_least_one_group_is_held_out_and_one_is_left(num: int, fraction: float, held_out: int) -> None:
    training, validation = split_indices([f"clip{i}" for i in range(num)], fraction=fraction, seed=0)
    assert len(validation) == held_out and len(training) == num - held_out


def test_an_epochs_order_is_a_permutation_and_a_pure_function_of_seed_and_epoch() -> None:
    indices = [3, 1, 4, 15, 9, 2, 6]
    orders = [epoch_order(indices, seed=0, epoch=epoch) for epoch in range(5)]
    assert all(sorted(order) == sorted(indices) for order in orders)
    assert epoch_order(indices, seed=0, epoch=3) == orders[3]
    assert len({tuple(order) for order in orders}) == 5 and epoch_order(indices, seed=1, epoch=3) != orders[3]
