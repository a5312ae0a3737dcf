"""benchmarks/fuzz.py: what is damaged at random is read or refused; a few dozen times here, and more there."""

from __future__ import annotations

import tempfile
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fuzz import KINDS, Edit, clips, edited, lists, make_named_files, outcome_of

SOURCES = clips() | lists()
EDITS = st.lists(
    st.builds(Edit, st.sampled_from(sorted(KINDS)), st.floats(0, 1), st.integers(0, 2**32 - 1)), min_size=1, max_size=6
)


@pytest.mark.parametrize("name", SOURCES)
@settings(max_examples=8, deadline=None, derandomize=True, database=None)
@given(edits=EDITS)
def test_a_damaged_file_is_read_or_refused_in_time_and_closed(name: str, edits: list[Edit]) -> None:
    av.logging.set_level(None)
    with tempfile.TemporaryDirectory() as folder:
        make_named_files(Path(folder))
        assert outcome_of(Path(folder), name, edited(SOURCES[name], edits)) in ("read", "refused")


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_damaged_is_read_when_it_is_whole(name: str, tmp_path: Path) -> None:
    make_named_files(tmp_path)
    wanted = "refused" if name == "train_labels.csv" else "read"  # which is none without its list of classes
    assert outcome_of(tmp_path, name, SOURCES[name]) in ("read", wanted)
