"""Points of a signer -> frames of a drawing: which hand signs, where to look, lines and colours.

The points are MediaPipe's holistic ones in a frame of 500 x 500 units, in which shoulders are about 200 apart. The
signing hand fills the picture with one colour a finger, nearer bones over farther ones, so that handshapes read at
64 px and still at 32 px. Face and arms are plain and grey: they say where the hand is and no more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from config import UserError

FRAME = 500.0  # units, width and height of the points' frame
MAX_OUTSIDE = 100.0  # units beyond the frame; points further out are the tracker's wild guesses
MAX_HAND = 160.0  # units: so is a hand wider or taller than this
MIN_SEEN = 0.5  # share of the frames in which a hand must be seen
ENDS = 1 / 8  # of the frames, at either end of a letter's clip, do not count for the square
CROP = (140.0, 380.0)  # units, smallest and largest side of the square that is drawn
MARGIN = 1.12  # of that square over the extent of the hands
SUPERSAMPLING = 4

Colour = tuple[int, int, int]
Square = tuple[float, float, float]  # x0, y0, side in units
BACKGROUND: Colour = (255, 255, 255)
FACE: Colour = (232, 232, 232)
ARM: Colour = (214, 214, 214)
PALM: Colour = (214, 205, 190)
FINGERS: tuple[Colour, ...] = (
    (230, 40, 40),  # thumb: red
    (250, 150, 0),  # index: orange
    (20, 160, 60),  # middle: green
    (20, 120, 240),  # ring: blue
    (150, 50, 200),  # little: violet
)
EDGE_SHADE = 0.45  # of a finger's colour, around it: tells crossing fingers apart
FINGER_WIDTH = 9.0  # units
EDGE_WIDTH = 1.4  # units on either side
ARM_WIDTH = 20.0  # units
PALM_RING = (0, 1, 2, 5, 9, 13, 17)  # wrist, two roots of the thumb, four knuckles
ARM_LINES = ((0, 1), (0, 2), (2, 4), (1, 3), (3, 5))  # between shoulders, then shoulder, elbow, wrist of each side
NUM_BONES = 3  # of a finger: points 1 + 4 * finger and the next three


class PoseError(UserError):
    """A clip whose points cannot be read or drawn."""


@dataclass(frozen=True)
class Points:
    """One clip's points in units of the frame, float64, NaN where nothing was seen. Left and right are the signer's.

    ``body`` (F, 6, 2): left and right shoulder, elbows, wrists. ``face`` (F, P, 2). ``hands`` (2, F, 21, 3): left, then
    right; the third coordinate is the distance from the camera beyond that of the hand's own wrist.
    """

    body: np.ndarray
    face: np.ndarray
    hands: np.ndarray

    def at(self, frames: np.ndarray) -> Points:
        """The clip that holds the given frames, (N,) int64."""
        return Points(self.body[frames], self.face[frames], self.hands[:, frames])


def mirror(points: Points) -> Points:
    """Left and right exchanged: a left-handed signer becomes a right-handed one. Its own inverse."""
    return Points(
        body=points.body[:, [1, 0, 3, 2, 5, 4]] * (-1, 1) + (FRAME, 0),
        face=points.face * (-1, 1) + (FRAME, 0),
        hands=points.hands[::-1] * (-1, 1, 1) + (FRAME, 0, 0),
    )


def clean(points: Points) -> Points:
    """The clip as it is drawn: wild points dropped, hands without gaps, a lone left hand mirrored to the right.

    A hand counts if at least half of the frames show all of it; its gaps are then filled linearly in time between the
    frames that show it, and held before the first and after the last. A hand that does not count becomes NaN.

    Raises:
        PoseError: neither hand counts.
    """
    body, face, hands = (_without_wild(part) for part in (points.body, points.face, points.hands))
    whole = np.ptp(hands[..., :2], axis=2).max(axis=-1) <= MAX_HAND  # (2, F); False where any point is NaN
    seen = whole.mean(axis=1)
    if seen.max() < MIN_SEEN:
        raise PoseError(f"a whole hand is seen in {seen.max():.0%} of the frames; wanted at least {MIN_SEEN:.0%}")
    for side in (0, 1):
        hands[side] = _fill_gaps(hands[side], whole[side]) if seen[side] >= MIN_SEEN else np.nan
    cleaned = Points(body, face, hands)
    return mirror(cleaned) if seen[1] < MIN_SEEN else cleaned


def crop_square(points: Points, *, ends: float = ENDS) -> Square:
    """(x0, y0, side): one square for a cleaned clip, around all that its hands do.

    The first and last ``ends`` of the frames, in which hands still rise or sink, may leave it.
    """
    num_frames = len(points.body)
    cut = int(ends * num_frames)
    hands = points.hands[:, cut : num_frames - cut, :, :2]
    low, high = np.nanmin(hands, axis=(0, 1, 2)), np.nanmax(hands, axis=(0, 1, 2))
    side = float(np.clip(MARGIN * (high - low).max(), *CROP))
    x0, y0 = (low + high - side) / 2
    return float(x0), float(y0), side


def draw_clip(points: Points, image_size: int, *, square: Square) -> np.ndarray:
    """A cleaned clip of F frames -> (F, image_size, image_size, 3) uint8 of what lies in ``square``."""
    x0, y0, side = square
    scale = image_size * SUPERSAMPLING / side
    body, face = ((part - (x0, y0)) * scale for part in (points.body, points.face))
    hands = (points.hands - (x0, y0, 0)) * scale
    frames = []
    for frame in range(len(body)):
        picture = Image.new("RGB", (image_size * SUPERSAMPLING,) * 2, BACKGROUND)
        pen = ImageDraw.Draw(picture)
        _draw_body(pen, body[frame], face[frame], width=ARM_WIDTH * scale)
        for hand in hands[:, frame]:
            if np.isfinite(hand).all():
                _draw_hand(pen, hand, width=FINGER_WIDTH * scale, edge=EDGE_WIDTH * scale)
        frames.append(np.asarray(picture.reduce(SUPERSAMPLING)))
    return np.stack(frames)


def _without_wild(points: np.ndarray) -> np.ndarray:
    """A copy with NaN for points far outside the frame."""
    wild = (np.abs(points[..., :2] - FRAME / 2) > FRAME / 2 + MAX_OUTSIDE).any(axis=-1)
    return np.where(wild[..., None], np.nan, points)


def _fill_gaps(hand: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """(F, 21, 3) with the frames that ``whole`` (F,) marks -> all frames: linear between those, held at the ends."""
    known = np.flatnonzero(whole)
    columns = [np.interp(np.arange(len(hand)), known, column[known]) for column in hand.reshape(len(hand), -1).T]
    return np.stack(columns, axis=1).reshape(hand.shape)


def _draw_body(pen: ImageDraw.ImageDraw, body: np.ndarray, face: np.ndarray, *, width: float) -> None:
    """Body (6, 2) and face (P, 2) in px: the face as an ellipse, arms as lines ``width`` px wide."""
    seen = face[np.isfinite(face).all(axis=1)]
    if len(seen):
        pen.ellipse((*seen.min(axis=0), *seen.max(axis=0)), fill=FACE)
    for a, b in ARM_LINES:
        if np.isfinite(body[[a, b]]).all():
            _draw_limb(pen, body[a], body[b], width=width, colour=ARM)


def _draw_hand(pen: ImageDraw.ImageDraw, hand: np.ndarray, *, width: float, edge: float) -> None:
    """Hand (21, 3) in px: the palm and 15 bones, farthest first, each with a darker edge."""
    parts = [(hand[list(PALM_RING), 2].mean(), -1, 0)]  # depth, finger (-1: the palm), bone
    for finger in range(len(FINGERS)):
        roots = [1 + 4 * finger + bone for bone in range(NUM_BONES)]
        parts += [(hand[[root, root + 1], 2].mean(), finger, bone) for bone, root in enumerate(roots)]
    drawn: set[tuple[int, int]] = set()
    for _, finger, bone in sorted(parts, key=lambda part: -part[0]):
        if finger < 0:
            _draw_palm(pen, hand[list(PALM_RING), :2], width=width, edge=edge)
            continue
        points, colour = hand[1 + 4 * finger : 5 + 4 * finger, :2], FINGERS[finger]
        _draw_limb(pen, points[bone], points[bone + 1], width=width + 2 * edge, colour=_shade(colour))
        _draw_limb(pen, points[bone], points[bone + 1], width=width, colour=colour)
        if (finger, bone - 1) in drawn:
            _open_joint(pen, points[bone], points[bone - 1], width=width, edge=edge, colour=colour)
        if (finger, bone + 1) in drawn:
            _open_joint(pen, points[bone + 1], points[bone + 2], width=width, edge=edge, colour=colour)
        drawn.add((finger, bone))


def _draw_palm(pen: ImageDraw.ImageDraw, ring: np.ndarray, *, width: float, edge: float) -> None:
    """The polygon through ``ring`` (7, 2) in px, rounded like the fingers."""
    sides = list(zip(ring, np.roll(ring, -1, axis=0), strict=True))
    for a, b in sides:
        _draw_limb(pen, a, b, width=width + 2 * edge, colour=_shade(PALM))
    pen.polygon([tuple(point) for point in ring], fill=PALM)
    for a, b in sides:
        _draw_limb(pen, a, b, width=width, colour=PALM)


def _open_joint(
    pen: ImageDraw.ImageDraw, joint: np.ndarray, far: np.ndarray, *, width: float, edge: float, colour: Colour
) -> None:
    """Takes away the edge that a new bone drew across its neighbour, which runs from ``joint`` to ``far``."""
    length = float(np.hypot(*(far - joint)))
    if length > 0:
        end = joint + (far - joint) * min(1.0, (width / 2 + edge) / length)
        pen.line((*joint, *end), fill=colour, width=max(1, round(width)))


def _draw_limb(pen: ImageDraw.ImageDraw, a: np.ndarray, b: np.ndarray, *, width: float, colour: Colour) -> None:
    """A line with round ends, all in px."""
    pen.line((*a, *b), fill=colour, width=max(1, round(width)))
    for x, y in (a, b):
        pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=colour)


def _shade(colour: Colour) -> Colour:
    red, green, blue = (round(EDGE_SHADE * level) for level in colour)
    return red, green, blue
