"""external/TinyFusion/weights.py: reading a file, of whatever wrapping, origin or intent."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from external.TinyFusion.weights import WeightsError, read_published
from tests.published_files import Weights, random_weights


@pytest.fixture
def published() -> Weights:
    return random_weights(2, 64)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"ema": weights},
        lambda weights: {"model": weights},
        lambda weights: {
            "model": {"other": torch.zeros(1)},
            "ema": weights,
            "opt": {},
            "args": argparse.Namespace(lr=1),
        },
    ],
    ids=["bare", "ema", "model", "ema before model, with a command line"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_every_published_wrapping_reads_alike(
    wrap: Callable[[Weights], object], zipped: bool, published: Weights, tmp_path: Path
) -> None:
    torch.save(wrap(published), tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    weights = read_published(tmp_path / "w.pt")
    assert weights.keys() == published.keys()
    assert all(torch.equal(weights[name], published[name]) for name in published)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "executed"


@dataclass
class Bomb:
    """Touches ``marker`` when it is unpickled."""

    marker: Path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return (_touch, (str(self.marker),))


def _touch(path: str) -> None:
    Path(path).touch()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_code_is_refused_and_runs_nothing(zipped: bool, tmp_path: Path, marker: Path) -> None:
    path = tmp_path / "bomb.pt"
    torch.save({"ema": Bomb(marker)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="bomb.pt"):
        read_published(path)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # the bomb was live


def test_a_bare_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path, marker: Path) -> None:
    (tmp_path / "bomb.pt").write_bytes(pickle.dumps(Bomb(marker), protocol=2))
    with pytest.raises(WeightsError, match="bomb.pt"):
        read_published(tmp_path / "bomb.pt")
    assert not marker.exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_file_is_one_clear_line(share: float, published: Weights, tmp_path: Path) -> None:
    torch.save(published, tmp_path / "whole.pt")
    data = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(data[: int(share * len(data))])
    with pytest.raises(WeightsError, match=r"cut\.pt \([\d,]+ bytes\) is truncated or foreign; .* Download") as error:
        read_published(tmp_path / "cut.pt")
    assert "\n" not in str(error.value)


def write_npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.ones(3))


FOREIGN: dict[str, Callable[[Path], object]] = {
    "a web page": lambda path: path.write_text("<!DOCTYPE html><title>Not found</title>"),
    "a picture": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64)),
    "an archive of arrays": write_npz,
    "a list": lambda path: torch.save([torch.ones(2)], path),
    "a tensor": lambda path: torch.save(torch.ones(2), path),
    "an empty table": lambda path: torch.save({}, path),
    "a table of numbers": lambda path: torch.save({"ema": {"a": 1}}, path),
    "a whole module": lambda path: torch.save(torch.nn.Linear(2, 2), path),
    "a folder": lambda path: path.mkdir(),
    "nothing": lambda path: None,
}


@pytest.mark.parametrize("write", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_file_is_one_clear_line_that_names_it(write: Callable[[Path], object], tmp_path: Path) -> None:
    write(tmp_path / "foreign.pt")
    with pytest.raises(WeightsError, match="foreign.pt.*wanted") as error:
        read_published(tmp_path / "foreign.pt")
    assert "\n" not in str(error.value)
