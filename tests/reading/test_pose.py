"""utils/reading/pose.py: what it says without MediaPipe, and the shapes that it gives with it."""

from __future__ import annotations

import numpy as np
import pytest

from utils.reading import pose

installed = pytest.mark.skipif(not pose.is_installed(), reason="MediaPipe is not installed (requirements-pose.txt)")


def test_without_the_extra_whoever_asks_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pose, "find_spec", lambda name: None)
    with pytest.raises(pose.PoseExtraError, match="pip install -r requirements-pose.txt"):
        pose.find_hands(np.zeros((2, 8, 8, 3), dtype=np.uint8))


@pytest.mark.parametrize(("height", "width", "size"), [(64, 64, (512, 512)), (64, 96, (512, 768))])
def test_pictures_are_scaled_up_by_their_shorter_side(height: int, width: int, size: tuple[int, int]) -> None:
    assert pose.enlarged(np.full((height, width, 3), 7, dtype=np.uint8)).shape == (*size, 3)


@installed
def test_a_blank_clip_has_no_hands() -> None:
    found = pose.find_hands(np.zeros((2, 64, 64, 3), dtype=np.uint8))
    assert found.shape == (2, 2, 21, 2) and np.isnan(found).all()


def hand(x: float, y: float) -> np.ndarray:
    """(21, 3) with its wrist at (x, y)."""
    return np.concatenate([np.zeros((1, 3)), np.full((20, 3), 0.05)]) + (x, y, 0)


@pytest.mark.parametrize(
    ("others", "left"),
    [
        ([], None),
        ([hand(1.15, 0.9)], hand(1.15, 0.9)),
        ([hand(0.62, 0.5), hand(1.25, 0.9)], hand(1.25, 0.9)),  # the right hand again, and the left one
        ([hand(1.0, 0.5)], None),  # beside neither
        ([hand(0.62, 0.5)], None),
    ],
    ids=["none", "lost", "both", "far", "known"],
)
def test_a_lost_hand_is_replaced_by_what_is_found_beside_its_wrist(
    others: list[np.ndarray], left: np.ndarray | None
) -> None:
    body = np.array([(1.1, 0.5), (0.7, 0.5), (1.2, 0.9), (0.6, 0.9), (1.2, 0.9), (0.5, 0.6)])
    lost, right = np.full((21, 3), np.nan), hand(0.6, 0.5)
    found = pose.with_others(np.stack([lost, right]), others, body)
    np.testing.assert_array_equal(found, np.stack([lost if left is None else left, right]))


@installed
def test_a_blank_clip_has_no_signer() -> None:
    found = pose.find_signer(np.zeros((2, 96, 128, 3), dtype=np.uint8))
    assert (found.body.shape, found.face.shape, found.hands.shape) == ((2, 6, 2), (2, 468, 2), (2, 2, 21, 3))
    assert np.isnan(found.body).all() and np.isnan(found.hands).all() and pose.tracker().startswith("mediapipe 0.")
