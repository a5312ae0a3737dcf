"""methods/evaluation/judge.py: a judge that can be right and wrong, and its ceiling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dataset import TextToSignDataset
from methods.evaluation.judge import (
    FALL,
    MOMENTS,
    SIZE,
    WINDOW,
    Judge,
    NetworkError,
    SignRecogniser,
    TooShortError,
    hands_are_coloured,
    named_right,
    signs_of,
    train_judge,
    vary,
)
from methods.evaluation.scores import Score
from tests.conftest import moving_square, write_pair
from utils.captions import letter_spans


def bar(index: int, *, shift: int = 0) -> np.ndarray:
    """(4, 32, 32, 3) uint8: a black bar on white; its direction tells four signs apart."""
    clip = np.full((4, 32, 32, 3), 255, dtype=np.uint8)
    at = np.arange(6, 26)
    for width in range(5):
        rows = [np.full_like(at, 14), at, at, at[::-1]][index] + (width if index != 1 else 0)
        columns = [at, np.full_like(at, 14), at, at][index] + (width if index == 1 else 0)
        clip[:, np.clip(rows + shift, 0, 31), np.clip(columns + shift, 0, 31)] = 0
    return clip


@pytest.fixture(scope="module")
def judge() -> Judge:
    clips = [bar(i, shift=shift) for i in range(4) for shift in (-2, 0, 2)]
    return Judge(clips, [f"sign {i}" for i in range(4) for _ in range(3)], seed=0, num_steps=40)


def test_it_names_real_signs_that_it_never_saw(judge: Judge) -> None:
    clips = [bar(i, shift=shift) for i in range(4) for shift in (-1, 1)]
    captions = [f"sign {i}" for i in range(4) for _ in range(2)]
    assert judge.name_signs(clips, captions) == [[caption] for caption in captions] and not judge.crop


def test_what_is_asked_for_does_not_change_what_it_sees(judge: Judge) -> None:
    assert judge.name_signs([bar(1)], ["sign 3"]) == [["sign 1"]]


def test_a_clip_is_named_alike_alone_and_among_others(judge: Judge) -> None:
    clips, captions = [bar(i % 4) for i in range(70)], ["sign 0"] * 70
    together = judge.name_signs(clips, captions)
    assert together == [judge.name_signs([clip], ["sign 0"])[0] for clip in clips]


def test_it_is_a_function_of_clips_captions_seed_and_steps() -> None:
    clips, captions = [bar(i) for i in range(4)], [f"sign {i}" for i in range(4)]
    first, second, other = (Judge(clips, captions, seed=seed, num_steps=3).network.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["name.weight"], other["name.weight"])


def test_it_stops_when_it_has_learnt_and_else_when_its_steps_are_spent() -> None:
    clips = [bar(1), bar(3)]
    found = Judge(clips, ["a", "b"], seed=0, num_steps=400)
    assert WINDOW + FALL <= found.num_steps < 400 and found.name_signs(clips, ["a", "b"]) == [["a"], ["b"]]
    assert Judge([bar(1), bar(1)], ["a", "b"], seed=0, num_steps=WINDOW + 5).num_steps == WINDOW + 5


def test_any_network_of_timm_that_takes_small_pictures_can_be_asked_for() -> None:
    pictures = torch.rand(2, MOMENTS, 3, SIZE, SIZE)
    for name in ("test_convnext", "test_vit"):  # the second takes pictures of one size alone
        assert SignRecogniser(5, network=name).eval()(pictures).shape == (2, 5)
    with pytest.raises(NetworkError, match="--recogniser nonesuch cannot be used .*Unknown model.*such as test_resnet"):
        SignRecogniser(5, network="nonesuch")


def test_a_spelled_letter_is_looked_for_where_the_word_holds_it() -> None:
    clip = np.zeros((16, SIZE, SIZE, 3), dtype=np.uint8)
    clip[:] = np.arange(16, dtype=np.uint8)[:, None, None, None]  # every frame carries its number
    signs = signs_of(clip, "spell c a b", crop=False)
    assert [sign.name for sign in signs] == ["letter C", "letter A", "letter B"]
    for sign, span in zip(signs, letter_spans(3, 16), strict=True):
        shown = sign.pictures[:, 0, 0, 0].tolist()
        assert len(shown) == MOMENTS and set(shown) <= set(range(16)[span]) and shown == sorted(shown)


def test_a_clip_too_short_for_its_word_is_an_error_that_names_the_caption() -> None:
    with pytest.raises(TooShortError, match="'spell h e l l o' asks for 5 signs.*8 frames shows 4 at most"):
        signs_of(np.zeros((8, 16, 16, 3), np.uint8), "spell h e l l o", crop=False)


def test_a_hand_is_cut_out_where_there_is_one() -> None:
    clip = np.full((4, 64, 64, 3), 255, dtype=np.uint8)
    clip[:, 40:50, 40:50] = (230, 40, 40)
    cut, whole = (signs_of(clip, "a", crop=crop)[0].pictures for crop in (True, False))
    assert (cut[0] != 255).any(-1).mean() > 0.4 > 0.1 > (whole[0] != 255).any(-1).mean()
    grey = np.full_like(clip, 90)
    np.testing.assert_array_equal(
        signs_of(grey, "a", crop=True)[0].pictures, signs_of(grey, "a", crop=False)[0].pictures
    )
    assert hands_are_coloured([clip] * 9 + [grey]) and not hands_are_coloured([clip, grey])


def test_moved_pictures_bring_in_white_and_are_moved_alike_at_all_moments() -> None:
    draw = torch.Generator().manual_seed(0)
    white = torch.ones(3, 2, 3, 16, 16)
    torch.testing.assert_close(vary(white, draw), white)
    grey = torch.rand(3, 1, 3, 16, 16, generator=draw).repeat(1, 2, 1, 1, 1)
    moved = vary(grey, draw)
    torch.testing.assert_close(moved[:, 0], moved[:, 1])
    assert not torch.allclose(moved[0], grey[0], atol=0.05)


# ---- Its score -----------------------------------------------------------------------------------------------------


def test_letters_count_one_by_one_and_in_order() -> None:
    answers = [["letter A", "letter B", "letter C"], ["letter B", "letter A"], ["hello"]]
    captions = ["spell a b d", "spell a b", "hello"]
    assert named_right(answers, captions, num_signs=26) == Score(3, 6, 1 / 3)  # a and b are asked for twice


def test_always_the_same_sign_does_not_beat_guessing() -> None:
    found = named_right([["often"]] * 10, ["often"] * 9 + ["once"], num_signs=26)
    assert found.accuracy == pytest.approx(found.chance) == pytest.approx(0.9)


def test_an_answer_of_another_length_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="argument 2 is longer"):
        named_right([["letter A"]], ["spell a b"], num_signs=26)


# ---- The ceiling ----------------------------------------------------------------------------------------------------


def folder_of(folder: Path, captions: list[str]) -> TextToSignDataset:
    for index, caption in enumerate(captions):
        write_pair(folder, f"clip{index:02d}", moving_square(index % 8), caption)
    return TextToSignDataset(folder, num_frames=4, image_size=16)


def test_the_ceiling_is_on_held_out_clips_of_trained_signs(tmp_path: Path) -> None:
    data = folder_of(tmp_path, ["a in X Sign Language", "b in X Sign Language", "a in Y Sign Language", "c"])
    found = train_judge(data, [0, 1], [2, 3], seed=0, num_steps=2)
    assert found.judge.names == ["a", "b"] and found.ceiling.num == 1 and found.ceiling.chance == 1.0
    assert found.ceiling_of == "held-out real clips"


def test_where_nothing_is_held_out_clips_are_kept_back_but_never_the_last_of_a_sign(tmp_path: Path) -> None:
    data = folder_of(tmp_path, ["a", "a", "a", "a", "b", "b", "b", "c", "d", "d"])
    found = train_judge(data, list(range(10)), [], seed=0, num_steps=2)
    assert found.judge.names == ["a", "b", "c", "d"] and found.judge.num_training_signs == 8
    assert found.ceiling.num == 2 and "not trained on" in found.ceiling_of


def test_where_every_sign_has_one_clip_there_is_no_ceiling_and_it_is_said(tmp_path: Path) -> None:
    data = folder_of(tmp_path, ["a", "b", "c"])
    found = train_judge(data, [0, 1, 2], [], seed=0, num_steps=2)
    assert found.ceiling is None and found.ceiling_of == "nothing: every sign has one real clip"
