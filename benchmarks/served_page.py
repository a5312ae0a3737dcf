"""From typing ``serve`` to the page, and from the click to a clip that plays, in a headless Chromium.

    python -m benchmarks.served_page --checkpoint checkpoints/demo/latest_checkpoint.pt --pictures FOLDER

``--pictures`` keeps the page as it looks at 1280 and 375 px. The clock begins before the process does.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.chromium import Visitor, open_browser
from benchmarks.machine import ROOT, command_line, write_result

PROMPT = "letter A in American Sign Language"
WIDTHS = (1280, 375)  # px
PLAYS = "[...document.querySelectorAll('#answer video')].some(clip => clip.currentTime > 0)"
BUTTON = "[...document.querySelectorAll('button')].find(button => button.innerText === 'Generate')"
EMPTY = "document.querySelector('textarea').select()"


def click_to_clip(visitor: Visitor, prompt: str) -> float:
    """Seconds from the click to a clip that plays; the page has none before."""
    visitor.wait("document.body && document.body.innerText.includes('Generate')")
    visitor.evaluate(EMPTY)
    visitor.type(prompt)
    began = time.perf_counter()
    visitor.evaluate(f"{BUTTON}.click()")
    visitor.wait(PLAYS)
    return time.perf_counter() - began


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def measure(checkpoint: Path, pictures: Path | None) -> dict[str, float]:
    """Seconds to the page and to the first and later visitors' clips."""
    command = [
        sys.executable,
        "main.py",
        "serve",
        "--checkpoint",
        str(checkpoint.resolve()),
        "--port",
        str(free_port()),
    ]
    began = time.perf_counter()
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().removeprefix("page: ").strip()
        ready = time.perf_counter() - began
        with open_browser() as browser:
            times = [click_to_clip(visitor := browser.visit(address), PROMPT) for _ in range(4)]
            for width in WIDTHS if pictures else ():
                visitor.resize(width, 800)
                time.sleep(4)  # until the controls of the clip have faded
                visitor.picture(pictures / f"served_page_{width}.png")
    finally:
        server.kill()
        server.wait()
    later = statistics.median(times[1:])
    return {"ready": round(ready, 2), "first_clip": round(times[0], 2), "later_clips": round(later, 2)}


def main() -> None:
    """Print the seconds and write ``results/served_page.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, help="a folder for pictures of the page")
    args = parser.parse_args()
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
    found = measure(args.checkpoint, args.pictures)
    print(", ".join(f"{name} {seconds:.2f} s" for name, seconds in found.items()))
    print(f"written: {write_result('served_page', command_line('served_page'), found)}")


if __name__ == "__main__":
    main()
