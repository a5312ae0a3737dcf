"""utils/processes.py: which of how many processes this one is."""

from __future__ import annotations

import pytest

from config import ConfigError
from utils.processes import World, world


def put(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_a_process_is_alone_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch)
    assert world() == World(0, 1, 0) and world().is_first
    put(monkeypatch, RANK="5", WORLD_SIZE="8", LOCAL_RANK="1")
    assert world() == World(rank=5, size=8, local_rank=1) and not world().is_first


@pytest.mark.parametrize(
    "values",
    [
        {"RANK": "4", "WORLD_SIZE": "4"},
        {"RANK": "1"},
        {"RANK": "-1", "WORLD_SIZE": "4"},
        {"WORLD_SIZE": "0"},
        {"RANK": "0", "WORLD_SIZE": "two"},
        {"RANK": "", "WORLD_SIZE": "2"},
        {"LOCAL_RANK": "1"},
    ],
    ids=str,
)
def test_a_process_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    put(monkeypatch, **values)
    with pytest.raises(ConfigError, match="wanted ranks from 0 to WORLD_SIZE - 1, as torchrun sets them") as caught:
        world()
    assert all(f"{name}={value}" in str(caught.value) for name, value in values.items())
