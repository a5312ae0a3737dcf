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


@installed
def test_a_blank_clip_has_no_signer() -> None:
    found = pose.find_signer(np.zeros((2, 96, 128, 3), dtype=np.uint8))
    assert (found.body.shape, found.face.shape, found.hands.shape) == ((2, 6, 2), (2, 468, 2), (2, 2, 21, 3))
    assert np.isnan(found.body).all() and np.isnan(found.hands).all() and pose.tracker().startswith("mediapipe 0.")
