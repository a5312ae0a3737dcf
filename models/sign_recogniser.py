"""A small video classifier: pictures of a hand, a few moments of a sign -> which sign. It knows no generator."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (24, 48, 96, 128)  # channels; the first at full resolution, each next at half of it
FEATURES = 128
DROPOUT = 0.3


class SignRecogniser(nn.Module):
    """Convolutions over each moment, one over time, the mean over moments, a linear map."""

    def __init__(self, num_signs: int, *, size: int) -> None:
        """``size``: px, height and width of the pictures, a multiple of 8."""
        super().__init__()
        layers: list[nn.Module] = []
        for index, width in enumerate(WIDTHS):
            before, stride = (WIDTHS[index - 1], 2) if index else (3, 1)
            layers += [nn.Conv2d(before, width, 3, stride=stride, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        self.see = nn.Sequential(*layers)
        side = size // 2 ** (len(WIDTHS) - 1)
        self.through_time = nn.Conv1d(WIDTHS[-1] * side**2, FEATURES, 3, padding=1)
        self.dropout = nn.Dropout(DROPOUT)
        self.name = nn.Linear(FEATURES, num_signs)

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures (B, M, 3, size, size) in [-1, 1] of M moments -> logits (B, num_signs)."""
        b, m = pictures.shape[:2]
        seen = self.see(pictures.flatten(0, 1)).flatten(1).unflatten(0, (b, m))  # (B, M, channels * side^2)
        moments = functional.relu(self.through_time(seen.transpose(1, 2)))  # (B, FEATURES, M)
        return self.name(self.dropout(moments.mean(2)))
