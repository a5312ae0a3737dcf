"""What a model sees of a prompt: token features, mask and pooled vector, and their standardisation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

FEATURE_LIMIT = 10.0  # deviations; keeps a prompt far from every training caption bounded


@dataclass(frozen=True)
class TextFeatures:
    """``tokens`` (B, L, E) float32, ``mask`` (B, L) bool with True at real tokens, ``pooled`` (B, E) float32."""

    tokens: Tensor
    mask: Tensor
    pooled: Tensor

    @classmethod
    def blank(cls, num_rows: int, num_tokens: int, width: int, device: torch.device | str = "cpu") -> TextFeatures:
        """Zeros for captions that all have ``num_tokens``: what only shapes matter for."""
        tokens = torch.zeros(num_rows, num_tokens, width, device=device)
        mask = torch.ones(num_rows, num_tokens, dtype=torch.bool, device=device)
        return cls(tokens, mask, torch.zeros(num_rows, width, device=device))

    def to(self, device: torch.device) -> TextFeatures:
        return TextFeatures(*(getattr(self, field.name).to(device) for field in dataclasses.fields(self)))

    def __getitem__(self, index: Tensor | slice | list[int]) -> TextFeatures:
        """The same for some of the B rows."""
        return TextFeatures(self.tokens[index], self.mask[index], self.pooled[index])

    def padded(self, num_tokens: int) -> TextFeatures:
        """The same with L at least ``num_tokens``; the new tokens are zero and masked."""
        more = max(0, num_tokens - self.mask.shape[1])
        pad = nn.functional.pad
        return TextFeatures(pad(self.tokens, (0, 0, 0, more)), pad(self.mask, (0, more), value=False), self.pooled)

    def with_null(self, drop: Tensor) -> TextFeatures:
        """The null prompt in the rows where ``drop`` (B,) bool is True: one zero token, a zero pooled vector.

        Zero is the mean of the training captions once features are standardised.
        """
        first = torch.arange(self.mask.shape[1], device=self.mask.device) == 0
        return TextFeatures(
            self.tokens.masked_fill(drop[:, None, None], 0.0),
            torch.where(drop[:, None], first, self.mask),
            self.pooled.masked_fill(drop[:, None], 0.0),
        )


class TextStandardiser(nn.Module):
    """(features - mean) / deviation over the training captions, per channel; its statistics travel in the checkpoint.

    Token embeddings of short captions are nearly parallel: without this, most of what the model sees is their mean.
    """

    def __init__(self, width: int, *, enabled: bool) -> None:
        super().__init__()
        self.width, self.enabled = width, enabled
        for part in ("tokens", "pooled"):
            self.register_buffer(f"{part}_mean", torch.zeros(width))
            self.register_buffer(f"{part}_std", torch.ones(width))

    @torch.no_grad()
    def fit(self, batches: Iterable[TextFeatures]) -> None:
        """Measure the statistics on the features of the distinct training captions; nothing where not enabled.

        They may come in any batches, never all in memory: sums are float64.
        """
        if not self.enabled:
            return
        sums = {"tokens": (0, 0.0, 0.0), "pooled": (0, 0.0, 0.0)}  # rows, their sum, the sum of their squares
        for text in batches:
            for part, rows in (("tokens", text.tokens[text.mask].double()), ("pooled", text.pooled.double())):
                num, total, squares = sums[part]
                sums[part] = num + len(rows), total + rows.sum(0), squares + rows.square().sum(0)
        for part, (num, total, squares) in sums.items():
            mean, mean_square = total / num, squares / num
            # One caption, or a channel that never moves: bounded by the typical size of the features.
            floor = 1e-2 * float(mean_square.mean().sqrt())
            getattr(self, f"{part}_mean").copy_(mean)
            getattr(self, f"{part}_std").copy_((mean_square - mean.square()).clamp(min=0.0).sqrt().clamp(min=floor))

    def forward(self, text: TextFeatures) -> TextFeatures:
        """Same shapes; padding stays zero."""
        if not self.enabled:
            return text
        tokens = ((text.tokens - self.tokens_mean) / self.tokens_std).clamp(-FEATURE_LIMIT, FEATURE_LIMIT)
        pooled = ((text.pooled - self.pooled_mean) / self.pooled_std).clamp(-FEATURE_LIMIT, FEATURE_LIMIT)
        return TextFeatures(tokens * text.mask[..., None], text.mask, pooled)
