"""utils/contact_sheet.py: the pixels of the clips stand in the picture."""

from __future__ import annotations

import numpy as np

from tests.data.pictures import noise
from utils.contact_sheet import contact_sheet


def test_a_contact_sheet_holds_the_middle_frame_of_every_clip_scaled_exactly():
    clips = [noise(5, 8, 8, 3, seed=i) for i in range(3)]
    sheet = np.asarray(contact_sheet([("real", clips)], ["A", "B", "C"], side=24))
    for clip in clips:
        assert _contains(sheet, clip[2].repeat(3, axis=0).repeat(3, axis=1))


def test_twenty_six_letters_wrap_into_two_bands_of_thirteen():
    clips = [np.zeros((1, 16, 16, 3), dtype=np.uint8)] * 26
    titles = [chr(65 + i) for i in range(26)]
    two = contact_sheet([("real", clips), ("generated", clips)], titles)
    one = contact_sheet([("real", clips[:13]), ("generated", clips[:13])], titles[:13])
    assert (two.width, two.height) == (one.width, 2 * one.height)


def _contains(sheet: np.ndarray, patch: np.ndarray) -> bool:
    height, width, _ = patch.shape
    tops, lefts = np.nonzero((sheet[: 1 - height or None, : 1 - width or None] == patch[0, 0]).all(axis=2))
    return any((sheet[t : t + height, s : s + width] == patch).all() for t, s in zip(tops, lefts, strict=True))
