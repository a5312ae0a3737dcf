"""Damaged files against the readers of containers and of lists: no crash, no hang, no file left open.

    python -m benchmarks.fuzz --runs 10000     # writes benchmarks/results/fuzz.json

Small whole files of every kind are cut, overwritten and repeated at random, each run a function of its number. Whatever
comes of it has to be a clip or a listing, or a VideoError or LayoutError, within 5 seconds. Each kind runs in a process
of its own, so that a crash of a decoder is told with its run.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import pickle
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from benchmarks.machine import write_result
from utils.layouts.listing import LayoutError, Row
from utils.layouts.registry import read_listing
from utils.reading.reader import read_clip
from utils.video import VideoError
from utils.writing import encode_clip

MAX_SECONDS = 5.0
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)
QUOTES = (b'"', b"|", b"\t", b",", b"\n", b"\0", b"\xff\xfe", b"{", b"[" * 50, b"../", b"nan", b"-1")


class Edit(NamedTuple):
    """``at`` in [0, 1] of the file; ``value`` in [0, 2^32), which each kind takes as it needs it."""

    kind: str
    at: float
    value: int


KINDS: dict[str, Callable[[bytes, int, int], bytes]] = {
    "byte": lambda data, at, value: data[:at] + bytes([value % 256]) + data[at + 1 :],
    "edge": lambda data, at, value: data[:at] + bytes([INTERESTING[value % 5]]) * (1 + value % 4) + data[at + 4 :],
    "word": lambda data, at, value: data[:at] + value.to_bytes(4, "big") + data[at + 4 :],
    "cut": lambda data, at, value: data[:at],
    "drop": lambda data, at, value: data[:at] + data[at + value % 64 :],
    "twice": lambda data, at, value: data[: at + value % 256] + data[at:],
    "sign": lambda data, at, value: data[:at] + QUOTES[value % len(QUOTES)] + data[at:],
}


def edited(data: bytes, edits: list[Edit]) -> bytes:
    """``data`` after all ``edits``."""
    for edit in edits:
        data = KINDS[edit.kind](data, round(edit.at * len(data)), edit.value)
    return data


def random_edits(source: random.Random) -> list[Edit]:
    return [
        Edit(source.choice(list(KINDS)), source.random(), source.randrange(2**32)) for _ in range(source.randint(1, 6))
    ]


# ---- What is damaged ------------------------------------------------------------------------------------------------


def clips() -> dict[str, bytes]:
    """File name -> a whole clip of six frames."""
    noise = np.random.RandomState(0).randint(0, 255, (6, 32, 48, 3), dtype=np.uint8)
    ours = {f"clip.{form}": encode_clip(noise, 10, form=form, comment="x")[0] for form in ("mp4", "gif", "webp")}
    others = {"clip.mkv": "libx264", "clip.webm": "libvpx-vp9", "clip.avi": "mpeg4", "clip.mpg": "mpeg2video"}
    return ours | {name: _film(noise, name, codec) for name, codec in others.items()}


def _film(frames: np.ndarray, name: str, codec: str) -> bytes:
    file = io.BytesIO()
    form = {"mkv": "matroska", "mpg": "mpeg"}.get(name[5:], name[5:])
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in [*(av.VideoFrame.from_ndarray(pixels, format="rgb24") for pixels in frames), None]:
            container.mux(stream.encode(frame))
    return file.getvalue()


def lists() -> dict[str, bytes]:
    """File name -> a whole list, each of another layout."""
    how2sign = "VIDEO_NAME\tSENTENCE_NAME\tSTART_REALIGNED\tEND_REALIGNED\tSENTENCE\na\tb\t1.0\t2.5\tFold it.\n"
    wlasl = [{"gloss": "book", "instances": [{"video_id": "a", "split": "train", "signer_id": 1}]}]
    labels = {"info": [{"name": "a", "label_char": ["x"], "signer": 1}]}
    phoenix = 'name|video|start|end|speaker|orth|translation\na|a/1/*.png|-1|-1|s|X|er sagt "x"\n'
    texts = {
        "metadata.csv": 'file_name,text,start,end,split,signer\na.mp4,"yes, ""so""",0,1.5,train,s\nb.mp4,no,,,val,\n',
        "metadata.tsv": "file_name\ttext\na.mp4\tyes\nb.mp4\tno\n",
        "metadata.jsonl": '{"file_name": "a.mp4", "text": "yes", "start": 1}\n{"file_name": "b.mp4", "text": "no"}\n',
        "a.txt": "grüß dich",
        "how2sign_train.csv": how2sign,
        "WLASL_v0.3.json": json.dumps(wlasl),
        "splits/train.csv": "Participant ID,Video file,Gloss,ASL-LEX Code\nP1,a.mp4,A,B\n",
        "annotations/manual/PHOENIX-2014-T.train.corpus.csv": phoenix,
        "include.csv": "Word,FilePath\n1. loud,a.mp4\n",
        "train_labels.csv": "a,1\n",
    }
    return {name: text.encode() for name, text in texts.items()} | {
        "sentence_label/csl2020ct_v2.pkl": pickle.dumps(labels)
    }


# ---- Running it -----------------------------------------------------------------------------------------------------


def outcome_of(folder: Path, name: str, data: bytes) -> str:
    """What reading ``data`` as the file ``name`` in ``folder`` comes to: "read" or "refused".

    Raises:
        AssertionError: it took too long, or left a file open. And whatever else a reader raises.
    """
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    before, start = _num_open(), time.monotonic()
    try:
        if name.startswith("clip."):
            read_clip(Row(path, "x", "x"), num_frames=4, image_size=16)
        else:
            read_listing(folder)
        outcome = "read"
    except (VideoError, LayoutError) as error:
        assert "\n" not in str(error), f"{error!r} has several lines"
        outcome = "refused"
    finally:
        path.unlink()
    seconds = time.monotonic() - start
    assert seconds < MAX_SECONDS, f"took {seconds:.1f} s"
    assert _num_open() <= before, "left a file open"
    return outcome


def _num_open() -> int:
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0


def make_named_files(folder: Path) -> None:
    """What the lists name, so that their rows count."""
    for name in ("a.mp4", "videos/a.mp4", "features/fullFrame-210x260px/train/a/images1.png", "train/a_color.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def run_kind(name: str, data: bytes, runs: int, send: Callable[[tuple[int, str]], None]) -> None:
    """``runs`` damaged copies; each outcome is sent with the run's number as soon as it is known."""
    av.logging.set_level(None)
    with tempfile.TemporaryDirectory() as folder:
        make_named_files(Path(folder))
        for number in range(runs):
            damaged = edited(data, random_edits(random.Random(f"{name} {number}")))
            try:
                send((number, outcome_of(Path(folder), name, damaged)))
            except Exception as error:  # which is what is looked for
                send((number, f"fault: {type(error).__name__}: {error}"))


def measure(runs: int) -> dict[str, Any]:
    """About ``runs`` runs, an equal share of each kind of file."""
    sources = clips() | lists()
    share = -(-runs // len(sources))
    found: dict[str, dict[str, int]] = {}
    faults: list[str] = []
    for name, data in sources.items():
        queue = multiprocessing.get_context("spawn").SimpleQueue()
        process = multiprocessing.get_context("spawn").Process(target=_child, args=(name, data, share, queue))
        process.start()
        outcomes: list[tuple[int, str]] = []
        while process.is_alive() or not queue.empty():
            if queue.empty():
                process.join(0.01)
            else:
                outcomes.append(queue.get())
        faults += [f"{name}, run {number}: {told}" for number, told in outcomes if told.startswith("fault")]
        if len(outcomes) < share:
            faults.append(f"{name}, run {len(outcomes)}: the process ended with {process.exitcode}")
        found[name] = dict(Counter(told.partition(":")[0] for _, told in outcomes))
    return {"runs": share * len(sources), "outcomes": found, "faults": faults, "limit_seconds": MAX_SECONDS}


def _child(name: str, data: bytes, runs: int, queue: multiprocessing.SimpleQueue) -> None:
    run_kind(name, data, runs, queue.put)


def main() -> None:
    """Count the outcomes, ``results/fuzz.json``; exit code 1 if there was any fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    number = parser.parse_args().runs
    result = measure(number)
    print(f"{result['runs']:,} runs, {len(result['faults'])} faults", *result["faults"], sep="\n")
    path = write_result("fuzz", f"python -m benchmarks.fuzz --runs {number}", result)
    print(f"written: {path}", file=sys.stderr)
    sys.exit(bool(result["faults"]))


if __name__ == "__main__":
    main()
