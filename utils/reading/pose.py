"""Landmarks of a signer by MediaPipe, where ``requirements-pose.txt`` is installed.

MediaPipe is imported where it is used alone: it takes seconds, and everything else works without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image

from config import UserError
from utils.fingerspelling.drawing import Points

SIDE = 512  # px that a picture's shorter side is scaled to: small hands are found better (docs/evaluation.md)
MIN_CONFIDENCE = 0.5
REQUIREMENTS = "requirements-pose.txt"
BODY = (11, 12, 13, 14, 15, 16)  # of MediaPipe's 33: left and right shoulder, elbows, wrists
NUM_BODY, NUM_HAND, NUM_FACE = 33, 21, 468
NEAR = 0.4  # of the shoulders' distance: a hand farther from an arm's wrist is not that arm's


class PoseExtraError(UserError):
    """Landmarks were asked for, and MediaPipe is not installed."""


def is_installed() -> bool:
    """Whether MediaPipe is there."""
    return find_spec("mediapipe") is not None


def require() -> None:
    """Raises:
    PoseExtraError: MediaPipe is not installed.
    """
    if not is_installed():
        raise PoseExtraError(
            f"MediaPipe is not installed. In an environment of Python 3.10 to 3.12: pip install -r {REQUIREMENTS}"
        )


def tracker() -> str:
    """What finds landmarks, by name and version, since another finds others.

    Raises:
        PoseExtraError: MediaPipe is not installed.
    """
    require()
    return f"mediapipe {version('mediapipe')}"


def find_signer(pictures: Iterable[np.ndarray]) -> Points:
    """F pictures (H, W, 3) uint8, in order and best with a shorter side of SIDE px -> the points of one signer.

    In shares of the shorter side, which is the unit of depth too. Left and right are the signer's. Holistic says which
    hand is which and loses many; what Hands finds beside a wrist takes their place.

    Raises:
        PoseExtraError: MediaPipe is not installed.
    """
    require()
    from mediapipe.python.solutions.hands import Hands
    from mediapipe.python.solutions.holistic import Holistic

    frames = []
    how = {"min_detection_confidence": MIN_CONFIDENCE}
    with Holistic(**how) as finder, Hands(max_num_hands=2, **how) as second:
        for pixels in pictures:
            scale = np.array([pixels.shape[1], pixels.shape[0], pixels.shape[1]]) / min(pixels.shape[:2])
            found, others = finder.process(pixels), second.process(pixels).multi_hand_landmarks or []
            body = (_points(found.pose_landmarks, NUM_BODY) * scale)[BODY, :2]
            sides = found.left_hand_landmarks, found.right_hand_landmarks
            hands = np.stack([_points(side, NUM_HAND) * scale for side in sides])
            hands = with_others(hands, [_points(other, NUM_HAND) * scale for other in others], body)
            frames.append((body, _points(found.face_landmarks, NUM_FACE)[:, :2] * scale[:2], hands))
    body, face, hands = (np.stack(part) for part in zip(*frames, strict=True))
    hands[..., 2] -= hands[..., :1, 2]
    return Points(body, face, hands.swapaxes(0, 1))


def with_others(hands: np.ndarray, others: list[np.ndarray], body: np.ndarray) -> np.ndarray:
    """A frame's left and right hand, (2, 21, 3): a lost one (NaN) replaced by the one of ``others``, (21, 3) each, that
    is beside its wrist and nearer to it than to the other hand. ``body`` (6, 2)."""
    filled = hands.copy()
    wrists = np.where(np.isnan(hands[:, 0, :2]), body[4:], hands[:, 0, :2])
    near = NEAR * np.hypot(*(body[0] - body[1]))
    for other in others:
        distances = np.hypot(*(wrists - other[0, :2]).T)
        side = int(np.argmin(distances))
        if np.isnan(hands[side]).any() and distances[side] < near:
            filled[side] = other
    return filled


def _points(part: Any, number: int) -> np.ndarray:
    """A list of MediaPipe's, in shares of width, height and width -> (number, 3) float64; of None, NaN."""
    if part is None:
        return np.full((number, 3), np.nan)
    return np.array([(point.x, point.y, point.z) for point in part.landmark])


def find_hands(clip: np.ndarray) -> np.ndarray:
    """(F, H, W, 3) uint8 -> (F, 2, 21, 2) float64: the points of up to two hands in px, NaN where none was found.

    Which hand comes first means nothing. A hand is followed from frame to frame.

    Raises:
        PoseExtraError: MediaPipe is not installed.
    """
    require()
    from mediapipe.python.solutions.hands import Hands

    size = clip.shape[2], clip.shape[1]  # of what is found as shares of the picture
    points = np.full((len(clip), 2, 21, 2), np.nan)
    with Hands(max_num_hands=2, min_detection_confidence=MIN_CONFIDENCE) as finder:
        for of_frame, frame in zip(points, clip, strict=True):
            found = finder.process(enlarged(frame)).multi_hand_landmarks or []
            for of_hand, hand in zip(of_frame, found, strict=False):
                of_hand[:] = [(point.x * size[0], point.y * size[1]) for point in hand.landmark]
    return points


def enlarged(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, bicubically scaled so that the shorter side has SIDE px."""
    scale = SIDE / min(frame.shape[:2])
    size = round(frame.shape[1] * scale), round(frame.shape[0] * scale)
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))
