"""What can be known of a letter in a language that was never seen signing it, without any model.

    python -m benchmarks.ceilings       # under a minute

Each of the lexicon's clips of A-Z is named by its nearest clip of the *other* languages: by hand pose (wrist at the
origin, unit size, three frames of the middle), and by pixels. ``fsl`` repeats the files of ``ase`` and is left out.
"""

from __future__ import annotations

import string
from collections.abc import Iterable

import numpy as np

from benchmarks.machine import write_result
from methods.evaluation.ranking import FEW, share_of_draws
from utils.fingerspelling.drawing import Points
from utils.fingerspelling.folder import Look
from utils.fingerspelling.lexicon import (
    AS_IT_IS,
    Entry,
    draw_letter,
    lexicon_folder,
    read_index,
    read_points,
    select_entries,
    trimmed,
)

ONE_HANDED = ("ase", "asq", "bzs", "gsg", "ise", "mfs", "psr", "sgg", "ssp", "svk")  # Latin alphabets of one hand
MIDDLE = (0.3, 0.5, 0.7)  # of a trimmed clip
PIXELS = Look(image_size=32, num_frames=8, fps=8)


def entries() -> list[Entry]:
    """The 410 clips of A-Z in 16 sign languages."""
    return select_entries(read_index(lexicon_folder()), None, frozenset(string.ascii_uppercase))[0]


def canonical_pose(points: Points) -> np.ndarray:
    """A cleaned clip -> (3 * 21 * 2,): the signing hand, wrist at the origin, mean distance from it 1.

    Of two hands that are seen the higher one signs; a left one is mirrored.
    """
    whole = [side for side in (0, 1) if np.isfinite(points.hands[side]).all()]
    side = min(whole, key=lambda s: points.hands[s][..., 1].mean())
    frames = np.round(np.multiply(MIDDLE, len(points.body) - 1)).astype(int)
    hand = points.hands[side][frames, :, :2] - points.hands[side][frames, :1, :2]
    hand = hand / np.linalg.norm(hand, axis=-1).mean(axis=1)[:, None, None]
    return (hand * ((-1, 1) if side == 0 else (1, 1))).ravel()


def not_farther(features: np.ndarray, letters: list[str], languages: list[str]) -> tuple[list[int], int]:
    """For each row, how many wrong letters have a row of another language at least as near as the right one; of how
    many wrong letters."""
    squares = (features**2).sum(1)
    distances = squares[:, None] + squares[None] - 2 * features @ features.T
    own = np.array(languages)[:, None] == np.array(languages)[None]
    distances = np.where(own, np.inf, distances)
    names = sorted(set(letters))
    nearest = np.stack([distances[:, np.array(letters) == name].min(1) for name in names], axis=1)  # (rows, names)
    mine = nearest[np.arange(len(letters)), [names.index(letter) for letter in letters]]
    return ((nearest <= mine[:, None]).sum(1) - 1).tolist(), len(names) - 1


def share(right: Iterable[float]) -> float:
    """The mean, so of True the share, to three digits."""
    return round(float(np.mean(list(right))), 3)


def ceilings(held_out: set[tuple[str, str]] | None = None) -> dict[str, object]:
    """Shares named right by pose and by pixels: over all clips, the one-handed languages, each language, and the
    ``held_out`` pairs (letter, language); of these also among FEW letters, the right one and others by chance."""
    chosen = entries()
    folder = lexicon_folder()
    poses = [canonical_pose(trimmed(read_points(folder / entry.source))) for entry in chosen]
    pixels = [draw_letter(entry.clip, PIXELS, AS_IT_IS, folder=folder).ravel() for entry in chosen]
    letters, languages = [entry.letter.upper() for entry in chosen], [entry.language for entry in chosen]
    found: dict[str, object] = {}
    for name, features in (("pose", poses), ("pixels", pixels)):
        lost, num_others = not_farther(np.stack(features).astype(np.float64), letters, languages)
        rows = list(zip([not num for num in lost], letters, languages, strict=True))
        few = [share_of_draws(num, num_others, FEW - 1) for num in lost]
        found[name] = {
            "all": share(ok for ok, _, _ in rows),
            "one_handed": share(ok for ok, _, language in rows if language in ONE_HANDED),
            "by_language": {code: share(ok for ok, _, own in rows if own == code) for code in sorted(set(languages))},
        }
        if held_out:
            found[name]["held_out"] = share(ok for ok, letter, code in rows if (letter, code) in held_out)
            among = [part for part, (_, letter, code) in zip(few, rows, strict=True) if (letter, code) in held_out]
            found[name][f"held_out_{FEW}_way"] = share(among)
    return found


def main() -> None:
    """A row for each measure, ``results/ceilings.json``."""
    found = ceilings()
    for name, shares in found.items():
        print(f"{name:<8} all {shares['all']:.3f}   one-handed Latin languages {shares['one_handed']:.3f}")
        print("         " + "  ".join(f"{code} {value:.2f}" for code, value in shares["by_language"].items()))
    print(f"written: {write_result('ceilings', 'python -m benchmarks.ceilings', found)}")


if __name__ == "__main__":
    main()
