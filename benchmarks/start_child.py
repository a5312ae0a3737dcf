"""A start on a data folder in a process of its own: seconds, memory, and which files it opens.

    python -m benchmarks.start_child FOLDER CACHE NUM_FRAMES IMAGE_SIZE LAYOUT

Prints one line of JSON. Files are counted by the interpreter's own audit events, so nothing that Python opens escapes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def peak_gib() -> float:
    """Of this program's resident set (Linux); getrusage tells the parent's where that was larger."""
    status = Path("/proc/self/status").read_text()
    return round(int(status.split("VmHWM:")[1].split()[0]) / 2**20, 3)


def main() -> None:
    folder, cache = (os.path.abspath(path) for path in sys.argv[1:3])
    opened: list[str] = []

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | os.PathLike):
            opened.append(os.path.abspath(os.fspath(arguments[0])))

    sys.addaudithook(note)
    import dataset

    base = peak_gib()
    start = time.perf_counter()
    data = dataset.TextToSignDataset(
        folder, num_frames=int(sys.argv[3]), image_size=int(sys.argv[4]), cache_dir=cache, data_format=sys.argv[5]
    )
    seconds = time.perf_counter() - start
    below = [Path(path) for path in opened if path.startswith(folder + os.sep)]
    clips = [path for path in below if path.suffix in (".gif", ".mp4", ".txt")]
    told = {
        "clips": len(data),
        "seconds": round(seconds, 2),
        "peak_gib": peak_gib(),
        "of_which_imports_gib": base,
        "clip_and_caption_files_opened": len(set(clips)),
        "other_data_files_opened": sorted({path.name for path in {*below} - {*clips}}),
        "cache_files_opened": len({path for path in opened if path.startswith(cache + os.sep)}),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
