"""Letters' clips -> the points of a spelled word: when each letter is held, where, and how the hand gets to the next.

A word of n letters is n equal shares of its clip, one a letter. A letter is held in the middle two thirds of its share;
a third of a share, half of it on either side of the border, goes into the way to the next. So the frames of a letter
follow from n and the number of frames alone.

As fluent spellers do, the hand stays in one place while it changes. A letter that is said twice is held twice, the
second time further out, as spellers slide a double letter to the side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from utils.captions import HOLD
from utils.fingerspelling.drawing import FRAME, Points

WAY = 1 - HOLD  # of a share, between two letters
SHOULDERS = FRAME / 2, FRAME / 2  # units: where the middle between them goes
SHOULDER_WIDTH = 200.0  # units
STILL_PART = 0.4  # of a still letter's clip, its middle, is held
MOVES = 60.0  # units, about a palm: a letter whose hand goes farther is a moving one
MOVING_TIME = (0.05, 0.85)  # of a moving letter's clip; before it hands rise, and after it sink, which takes longer
MOVING_WAY = (0.03, 0.97)  # of the way in that time: what lies between is held, so that rests take no frames
SLIDE = 36.0  # units, about a third of a hand, that a double letter is held further out
PALM = (0, 5, 9, 13, 17)  # wrist and four knuckles
RIGHT_ELBOW, RIGHT_WRIST = 3, 5  # of the body
RIGHT = 1  # of the hands


@dataclass(frozen=True)
class Hold:
    """A letter as it is held in a word: its cleaned clip, and the first and the last frame (fractions allowed)."""

    points: Points
    start: float
    end: float


def minimum_jerk(x: np.ndarray) -> np.ndarray:
    """0 up to x = 0, 1 from x = 1 on, between them 10 x^3 - 15 x^4 + 6 x^5, at rest at both ends.

    The course of a hand from one rest to another (Flash & Hogan 1985, eq. 3).
    """
    x = np.clip(x, 0.0, 1.0)
    return x**3 * (10.0 - 15.0 * x + 6.0 * x**2)


def hold_of(points: Points) -> Hold:
    """A letter's cleaned, trimmed clip -> its hold, the signer moved to where all letters of a language meet.

    A letter whose right hand goes farther than MOVES in the middle half of the clip is a moving one, and its way is
    held; of another the middle of the clip.
    """
    points = align_body(points)
    last = len(points.body) - 1
    steps = np.linalg.norm(np.diff(points.hands[RIGHT, ..., :2], axis=0), axis=-1).mean(axis=1)
    if steps[last // 4 : last - last // 4].sum() <= MOVES:
        return Hold(points, last * (1 - STILL_PART) / 2, last * (1 + STILL_PART) / 2)
    frames, way = np.arange(last + 1), np.concatenate([[0.0], np.cumsum(steps)])
    first, final = np.interp(np.multiply(MOVING_TIME, last), frames, way)
    start, end = np.interp(first + np.multiply(MOVING_WAY, final - first), way, frames)
    return Hold(points, float(start), float(end))


def align_body(points: Points) -> Points:
    """The signer moved and scaled so that shoulders lie, in the median, at SHOULDERS and SHOULDER_WIDTH apart.

    A clip that does not show both shoulders stays as it is: the lexicon's frame is nearly the same.
    """
    shoulders = points.body[:, :2]
    seen = shoulders[np.isfinite(shoulders).all(axis=(1, 2))]
    if not len(seen):
        return points
    middle = np.median(seen.mean(axis=1), axis=0)
    scale = SHOULDER_WIDTH / float(np.median(np.linalg.norm(seen[:, 0] - seen[:, 1], axis=-1)))
    body, face = ((part - middle) * scale + SHOULDERS for part in (points.body, points.face))
    return Points(body, face, (points.hands - (*middle, 0.0)) * scale + (*SHOULDERS, 0.0))


def place_holds(letters: Sequence[str], holds: dict[str, Hold]) -> list[Hold]:
    """The holds of a word's letters, right palms in one place, the mean of theirs; letters said twice slid apart.

    Both hands move by the same way, and the right arm follows.
    """
    palms = np.stack([_palm(holds[letter]) for letter in letters])
    placed = []
    for letter, palm, slide in zip(letters, palms, slides(letters), strict=True):
        hold = holds[letter]
        way = palms.mean(axis=0) - palm - (slide, 0.0)  # the signer's right is the picture's left
        placed.append(Hold(_move_hands(hold.points, way), hold.start, hold.end))
    return placed


def slides(letters: Sequence[str]) -> list[float]:
    """Units to the signer's right at which each letter is held: 0, but SLIDE between equal neighbours, around 0."""
    runs = [len(list(group)) for _, group in groupby(letters)]
    return [SLIDE * (nth - (run - 1) / 2) for run in runs for nth in range(run)]


def word_points(holds: list[Hold], times: np.ndarray) -> Points:
    """The points of a word at ``times`` (T,), in letters: k + 1/2 is the middle of letter k's hold.

    A hold is run through, and a way made, from rest to rest: the velocity of every point is continuous and zero where
    they meet. Before the first hold and after the last, the word rests.
    """
    since = times - (1 - HOLD) / 2  # of the first hold's start
    letter = np.clip(np.floor(since), 0, len(holds) - 1).astype(int)
    held = (since - letter) / HOLD
    pieces, order = [], []
    for k, hold in enumerate(holds):
        here = np.flatnonzero((letter == k) & ((held <= 1) | (k == len(holds) - 1)))
        frames = hold.start + (hold.end - hold.start) * minimum_jerk(held[here])
        pieces.append(points_at(hold.points, frames))
        order.append(here)
        on_the_way = np.setdiff1d(np.flatnonzero(letter == k), here)
        if len(on_the_way):
            share = minimum_jerk((since[on_the_way] - k - HOLD) / WAY)
            start, end = points_at(hold.points, np.array([hold.end])), holds[k + 1].points
            pieces.append(blend(start, points_at(end, np.array([holds[k + 1].start])), share))
            order.append(on_the_way)
    back = np.argsort(np.concatenate(order))
    body, face = (np.concatenate([getattr(p, name) for p in pieces])[back] for name in ("body", "face"))
    return Points(body, face, np.concatenate([p.hands for p in pieces], axis=1)[:, back])


def points_at(points: Points, frames: np.ndarray) -> Points:
    """The clip at fractions of frames, (T,) float64: Catmull-Rom between them, so that velocities are continuous."""
    last = len(points.body) - 1
    base = np.clip(np.floor(frames), 0, max(last - 1, 0)).astype(int)
    x = frames - base
    weights = 0.5 * np.stack([
        -x + 2 * x**2 - x**3, 2 - 5 * x**2 + 3 * x**3, x + 4 * x**2 - 3 * x**3, -(x**2) + x**3,
    ])  # fmt: skip
    near = [np.clip(base + step, 0, last) for step in (-1, 0, 1, 2)]

    def mean(part: np.ndarray) -> np.ndarray:
        return sum(w[:, None, None] * part[at] for w, at in zip(weights, near, strict=True))

    return Points(mean(points.body), mean(points.face), np.stack([mean(hand) for hand in points.hands]))


def blend(start: Points, end: Points, share: np.ndarray) -> Points:
    """From ``start`` to ``end``, both of one frame, at ``share`` (T,) of the way. Hands turn, all else goes straight.

    A hand that one of the two does not show is not seen on the way.
    """
    w = share[:, None, None]
    body, face = (a + w * (b - a) for a, b in ((start.body, end.body), (start.face, end.face)))
    pairs = zip(start.hands[:, 0], end.hands[:, 0], strict=True)
    return Points(body, face, np.stack([blend_hands(a, b, share) for a, b in pairs]))


def blend_hands(start: np.ndarray, end: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Hands (21, 3) -> (T, 21, 3): the palm goes straight and turns evenly about one axis, fingers change within it.

    Points on straight lines would fold a hand into a line where it turns over, as between K and P.
    """
    if not (np.isfinite(start).all() and np.isfinite(end).all()):
        return np.full((len(share), *start.shape), np.nan)
    w = share[:, None, None]
    a, b = start[list(PALM)].mean(axis=0), end[list(PALM)].mean(axis=0)
    turn = _palm_frame(end) @ _palm_frame(start).T
    shape = (1 - w) * (start - a) + w * ((end - b) @ turn)  # both in the direction of the start
    turned = shape @ _parts_of_turn(turn, share).transpose(0, 2, 1)
    return turned + (1 - w) * a + w * b


def _palm_frame(hand: np.ndarray) -> np.ndarray:
    """(3, 3): unit vectors along the palm, across it, and out of it, as columns."""
    along = hand[9] - hand[0]
    along = along / max(float(np.linalg.norm(along)), 1e-9)
    across = hand[5] - hand[17]
    across = across - (across @ along) * along
    across = across / max(float(np.linalg.norm(across)), 1e-9)
    return np.stack([along, across, np.cross(along, across)], axis=1)


def _parts_of_turn(turn: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The rotation (3, 3) -> (T, 3, 3): about the same axis, by ``share`` of its angle (Rodrigues' formula)."""
    m = turn
    k = np.array([
        [m[0, 0] - m[1, 1] - m[2, 2], m[1, 0] + m[0, 1], m[2, 0] + m[0, 2], m[2, 1] - m[1, 2]],
        [m[1, 0] + m[0, 1], m[1, 1] - m[0, 0] - m[2, 2], m[2, 1] + m[1, 2], m[0, 2] - m[2, 0]],
        [m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], m[2, 2] - m[0, 0] - m[1, 1], m[1, 0] - m[0, 1]],
        [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], m[0, 0] + m[1, 1] + m[2, 2]],
    ])  # fmt: skip
    quaternion = np.linalg.eigh(k)[1][:, -1]  # x, y, z, w (Bar-Itzhack 2000): sound at half turns too
    quaternion = quaternion if quaternion[3] >= 0 else -quaternion
    length = float(np.linalg.norm(quaternion[:3]))
    x, y, z = quaternion[:3] / max(length, 1e-12)
    angle = (2 * np.arctan2(length, quaternion[3]) * share)[:, None, None]
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def _palm(hold: Hold) -> np.ndarray:
    """(2,): where the right palm is in the mean of a hold."""
    held = points_at(hold.points, np.linspace(hold.start, hold.end, 9))
    return held.hands[RIGHT][:, list(PALM), :2].mean(axis=(0, 1))


def _move_hands(points: Points, way: np.ndarray) -> Points:
    """Both hands moved by ``way`` (2,), the right elbow by half of it."""
    body = points.body.copy()
    body[:, RIGHT_WRIST] += way
    body[:, RIGHT_ELBOW] += way / 2
    return Points(body, points.face, points.hands + (*way, 0.0))
