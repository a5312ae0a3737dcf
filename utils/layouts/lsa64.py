"""LSA64: flat files ``SIGN_SIGNER_REPETITION.mp4`` with three digits each, and a list of signs with ``|`` in it.

There is no official split. Without the list a sign is called by its number, and that is said.
"""

from __future__ import annotations

import re
from pathlib import Path

from utils.layouts.listing import Listing, Row, files_below
from utils.layouts.text import read_text

FILE = re.compile(r"(?P<sign>\d{3})_(?P<signer>\d{3})_(?P<repetition>\d{3})")


def recognises(folder: Path) -> bool:
    files = list(files_below(folder, (".mp4",)))
    return bool(files) and all(FILE.fullmatch(path.stem) for path in files)


def read(folder: Path) -> Listing:
    """Every file whose name is one of the set's."""
    listing = Listing()
    words = _words(folder, listing)
    if not words:
        listing.remarks.append(f"{folder} has no list of signs (NUMBER|WORD a line), so signs are called by number")
    for path in files_below(folder, (".mp4",)):
        match = FILE.fullmatch(path.stem)
        if match:
            text = words.get(int(match["sign"]), f"sign {int(match['sign'])}")
            listing.add(Row(path, text, path.stem, signer=match["signer"]), str(path))
    listing.tell_unlisted(files_below(folder))
    return listing


def _words(folder: Path, listing: Listing) -> dict[int, str]:
    """Sign -> word, from the first file whose lines are ``number|word``."""
    for path in filter(Path.is_file, files_below(folder, (".txt", ".csv"))):
        lines = [line.split("|") for line in read_text(path, listing.remarks).splitlines() if line.strip()]
        if lines and all(len(parts) >= 2 for parts in lines):
            return {int(parts[0]): parts[1].strip() for parts in lines if parts[0].strip().isdecimal()}
    return {}
