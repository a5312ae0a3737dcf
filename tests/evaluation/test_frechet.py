"""methods/evaluation/likeness/frechet.py: closed forms, and a network of the published form."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from methods.evaluation.likeness.frechet import (
    FrechetError,
    features_of,
    frechet_distance,
    load_network,
    measure_frechet,
)


class Means(torch.nn.Module):
    """Called as StyleGAN-V's I3D is: the mean of each channel."""

    def forward(
        self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> torch.Tensor:
        if not (rescale and resize and return_features):
            raise RuntimeError("called otherwise")
        if x.shape[2] < 2:
            raise RuntimeError("too few frames")
        return x.mean((2, 3, 4))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("i3d") / "means.pt"
    torch.jit.script(Means()).save(str(path))
    return path


def with_moments(mean: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
    """(2 E, E) features of exactly this mean and these independent deviations."""
    num = len(mean)
    corners = torch.cat([torch.eye(num), -torch.eye(num)]).double() * math.sqrt((2 * num - 1) / 2)
    return corners * deviation + mean


def test_the_distance_of_two_gaussians_is_the_closed_form() -> None:
    """Of independent channels: the sum of (mean - mean')^2 + (deviation - deviation')^2."""
    mean, deviation = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([1.0, 2.0, 0.1])
    other_mean, other_deviation = torch.tensor([0.0, 2.0, 0.5]), torch.tensor([3.0, 2.0, 0.4])
    found = frechet_distance(with_moments(mean, deviation), with_moments(other_mean, other_deviation))
    assert found == pytest.approx((1 + 16 + 0) + (4 + 0 + 0.09), rel=1e-6)


def test_the_distance_is_that_of_the_matrix_root(seed: int = 0) -> None:
    draw = np.random.default_rng(seed)
    one, other = draw.normal(size=(40, 5)) @ draw.normal(size=(5, 5)), draw.normal(size=(30, 5)) + 1
    s, r = np.cov(one.T), np.cov(other.T)
    roots = np.sqrt(np.linalg.eigvals(s @ r).real.clip(0))
    wanted = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(s) + np.trace(r) - 2 * roots.sum()
    assert frechet_distance(torch.from_numpy(one), torch.from_numpy(other)) == pytest.approx(wanted, rel=1e-9)


def test_the_same_clips_are_at_no_distance_even_where_they_are_few() -> None:
    features = torch.randn(3, 400, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(features, features.flip(0)) == pytest.approx(0.0, abs=1e-9)


def test_a_network_sees_clips_in_grey_levels_and_numbers_stand_beside(weights: Path) -> None:
    network = load_network(weights)
    clips = [np.full((4, 2, 2, 3), (level, 0, 255), dtype=np.uint8) for level in range(10)]
    assert torch.equal(features_of(clips, network)[:, 0], torch.arange(10.0))
    brighter = [clip + np.array([10, 0, 0], dtype=np.uint8) for clip in clips]
    found = measure_frechet(brighter, clips, network)
    assert found["generated"] == pytest.approx(100.0) and found["real"] == pytest.approx(1.0)
    assert (found["num_generated"], found["num_real"], found["num_real_halves"]) == (10, 10, 5)
    few = measure_frechet(clips[:1], clips[:2], network)
    assert few["generated"] is None and few["real"] is None


def test_what_is_no_network_or_takes_no_such_clips_is_one_clear_line(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(FrechetError, match="is no TorchScript file"):
        load_network(tmp_path / "text.pt")
    with pytest.raises(FrechetError, match="does not take clips of .3, 1, 2, 2.") as caught:
        features_of([np.zeros((1, 2, 2, 3), dtype=np.uint8)], load_network(weights))
    assert "\n" not in str(caught.value)
