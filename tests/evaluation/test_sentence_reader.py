"""methods/evaluation/reading/: a reader that learns single signs reads sentences that it never saw."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from dataset import TextToSignDataset
from methods.evaluation.evaluator import evaluate
from methods.evaluation.reading.decode import Window
from methods.evaluation.reading.reader import Reader, frames_of, train_reader, windows
from methods.evaluation.table import format_report
from models.text_encoder import TextEncoder
from tests.fake_models import ALL, Obedient, loaded_with
from utils.layouts.listing import Span
from utils.writing import write_clip

COLOURS = {"red": (230, 20, 20), "green": (20, 200, 20), "blue": (30, 30, 230)}


def still(name: str, num_frames: int, *, side: int = 16) -> np.ndarray:
    return np.tile(np.uint8(COLOURS[name]), (num_frames, side, side, 1))


@pytest.fixture(scope="module")
def reader() -> Reader:
    signs = [(name, still(name, 4)) for name in COLOURS]
    return Reader(signs, [0.3, 0.5], seed=0, num_steps=24, network="test_resnet")


@pytest.mark.parametrize("sentence", ["red blue", "blue red", "green red blue"])
def test_single_signs_are_enough_to_read_sentences_in_order(reader: Reader, sentence: str) -> None:
    words = sentence.split()
    clip = np.concatenate([still(word, 12 // len(words)) for word in words])
    assert reader.read(clip) == words


def test_scores_count_words_and_sentences_and_leave_out_what_is_not_known(reader: Reader) -> None:
    found = [["red", "blue"], ["red"], ["blue"]]
    wanted = [("red", "blue"), ("red", "green"), ("blue", "brown")]
    scores = reader.score(found, wanted)
    assert scores["word_error_rate"] == 1 / 4
    assert scores["in_order"] | {"correct": 1, "num": 2, "chance": 1 / 9} == scores["in_order"]
    assert reader.score(found, [(), (), ()]) is None


def test_windows_are_all_of_the_lengths_that_signs_have() -> None:
    assert windows(4, 0.5, 0.75) == [Window(0, 2), Window(1, 3), Window(2, 4), Window(0, 3), Window(1, 4)]
    assert windows(2, 0.1, 0.2) == [Window(0, 2)] and windows(1, 0.1, 1.0) == [Window(0, 1)]


def test_a_span_is_cut_where_its_frames_are_shown() -> None:
    """Of 8 frames of 2 seconds frame i is shown around i / 4 + 1 / 8 seconds."""
    assert frames_of(Span("a", 0.25, 1.0), 2.0, 8) == slice(1, 4)
    assert frames_of(Span("a", 1.9, 2.0), 2.0, 8) == slice(7, 8)


@pytest.fixture
def sentences(tmp_path: Path) -> TextToSignDataset:
    lines = []
    for nth, words in enumerate([*permutations(COLOURS, 2), ("red", "red"), ("blue", "blue")]):
        write_clip(tmp_path / f"{nth}.gif", np.concatenate([still(word, 2) for word in words]), fps=4)
        spans = [[words[0], 0.0, 0.5], [words[1], 0.5, 1.0]]
        lines.append(json.dumps({"file_name": f"{nth}.gif", "text": " ".join(words), "spans": spans}))
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    return TextToSignDataset(tmp_path, num_frames=4, image_size=16)


def test_an_evaluation_reads_real_and_generated_sentences_and_takes_controls(
    sentences: TextToSignDataset, encoder: TextEncoder, tmp_path: Path
) -> None:
    loaded = loaded_with(Obedient(sentences, encoder), encoder)
    report = evaluate(loaded, sentences, folder=tmp_path / "out", clips_per_caption=1, recogniser_steps=2)
    reading = report["parts"]["clips"]["reading"]
    assert reading["real"] == reading["generated"] and reading["real"]["in_order"]["num"] == 8  # the same clips
    controls = [c for c in report["controls"] if c["measure"] == "reading of generated clips"]
    assert [c["name"] for c in controls] == ["shuffled captions", "no text (guidance 0)", "words permuted"]
    assert all(6 <= c["score"]["num"] <= 8 for c in controls)  # those of two different signs
    assert report["reader"] == {"num_steps": 2, "num_signs": 3}
    assert "generated sentences read right, in order" in format_report(report)


def test_without_spans_there_is_no_reader(clips_folder: Path) -> None:
    data = TextToSignDataset(clips_folder, num_frames=4, image_size=16)
    assert train_reader(data, ALL, seed=0, num_steps=1, network="test_resnet") is None
