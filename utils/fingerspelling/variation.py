"""The same letter once more: seen by another camera, signed by another hand, cut at other moments.

Done to points in space and not to pixels, so that fingers hide each other as they would. Rotations keep every distance;
a plain ``Variation()`` changes nothing at all, to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utils.fingerspelling.drawing import FINGERS, FRAME, Points, Square
from utils.runtime import derive_seed

MAX_TURN = 12.0  # degrees to either side: the camera goes around the signer, or above and below
MAX_ROLL = 8.0  # degrees: the camera is tilted
MAX_FINGER = 0.05  # share by which a finger is longer or shorter
MAX_ZOOM = 0.1  # share by which the picture shows more; never less, since hands fill it
MAX_SHIFT = 0.03  # share of the picture's side, less than the margin around the hands
MAX_CUT = 0.05  # share of the clip that is cut more or less at an end
PIVOT = (FRAME / 2, FRAME / 2, 0.0)


@dataclass(frozen=True)
class Variation:
    """One way to see a clip; without arguments, as it is.

    ``turn``: degrees around the vertical, the horizontal and the line of sight. ``fingers``: the length of thumb to
    little finger over their own. ``zoom``: the square's side over its own; ``shift``: its way right and down in sides.
    ``cut``: share of the clip to cut at the start and at the end beyond what is always cut.
    """

    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)
    fingers: tuple[float, ...] = (1.0,) * len(FINGERS)
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    cut: tuple[float, float] = (0.0, 0.0)


def draw_variation(seed: int, name: str, copy: int) -> Variation:
    """The variation of a clip's copy, uniform within the limits above: a pure function. Copy 0 is the clip itself."""
    if copy == 0:
        return Variation()
    u = np.random.default_rng(derive_seed(seed, "copy", name, copy)).uniform(-1.0, 1.0, 13).tolist()
    return Variation(
        turn=(MAX_TURN * u[0], MAX_TURN * u[1], MAX_ROLL * u[2]),
        fingers=tuple(1.0 + MAX_FINGER * x for x in u[3:8]),
        zoom=1.0 + MAX_ZOOM * (u[8] + 1.0) / 2,
        shift=(MAX_SHIFT * u[9], MAX_SHIFT * u[10]),
        cut=(MAX_CUT * u[11], MAX_CUT * u[12]),
    )


def vary(points: Points, variation: Variation) -> Points:
    """The points with other fingers, from another camera. Body and face, which have no depth, lie as deep as wrists."""
    rotation = rotation_matrix(*variation.turn)
    hands = rotate(scale_fingers(points.hands, variation.fingers), rotation)
    deep = (np.pad(part, ((0, 0), (0, 0), (0, 1))) for part in (points.body, points.face))
    body, face = (rotate(part, rotation)[..., :2] for part in deep)
    return Points(body, face, hands)


def vary_square(square: Square, variation: Variation) -> Square:
    """The square ``zoom`` times as large around the same centre, then moved by ``shift``."""
    x0, y0, side = square
    right, down = variation.shift
    grown = (variation.zoom - 1.0) * side
    return x0 - grown / 2 + right * side, y0 - grown / 2 + down * side, side + grown


def scale_fingers(hands: np.ndarray, factors: tuple[float, ...]) -> np.ndarray:
    """Hands (..., 21, 3) whose three bones of each finger are ``factors`` (thumb to little finger) times as long.

    A finger stays at its root and keeps the directions of its bones; the palm is left alone.
    """
    scaled = hands.copy()
    for finger, factor in enumerate(factors):
        own = slice(1 + 4 * finger, 5 + 4 * finger)
        scaled[..., own, :] += (factor - 1.0) * (hands[..., own, :] - hands[..., own, :][..., :1, :])
    return scaled


def rotate(points: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Points (..., 3) turned around PIVOT; the identity matrix changes no bit."""
    return points + (points - PIVOT) @ (rotation - np.eye(3)).T


def rotation_matrix(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """(3, 3) float64: turns around y (down), then x (right), then z (away from the camera), in degrees.

    Right-handed: a positive roll turns the picture clockwise, since y points down.
    """
    matrix = np.eye(3)
    for axis, degrees in ((1, yaw), (0, pitch), (2, roll)):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn[a, a], turn[a, b], turn[b, a], turn[b, b] = cosine, -sine, sine, cosine
        matrix = turn @ matrix
    return matrix
