"""benchmarks/changes.py: no change of a clip's file that shows in its size or time stays unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.changes import CHANGES, noticed_by

HIDDEN = "other bytes, as many, its time set back"  # the one that nothing but reading can tell


@pytest.mark.parametrize("name", CHANGES)
def test_the_next_start_notices_all_but_what_leaves_no_trace(name: str, tmp_path: Path) -> None:
    wanted = "--verify alone" if name == HIDDEN else "the next start"
    assert noticed_by(tmp_path, CHANGES[name]) == wanted
