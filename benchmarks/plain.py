"""The plain way to make a video model of an image DiT, for comparison: every frame on its own, everything per frame.

The same layers with the same weights as ``TinyFusionVideo`` and the same output, written independently of it: each
frame goes through every block by itself, and its conditioning (timestep embedding, text projection, adaLN modulation,
keys and values of the text) is computed for that frame. Only the temporal attention and the temporal convolution,
which need all frames, see them together.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.architectures.tinyfusion import TinyFusionVideo
from models.layers.adapters import SpaceTimeAdapter, attend, maybe_checkpoint
from models.text_features import TextFeatures


class PlainAdapter(nn.Module):
    """A ``SpaceTimeAdapter`` over a list of frames; the text's keys and values are computed for each."""

    def __init__(self, adapter: SpaceTimeAdapter) -> None:
        super().__init__()
        self.adapter = adapter

    def forward(self, mask: Tensor, *frames_and_texts: Tensor) -> Tensor:
        """mask (B, L), F frames (B, N, D), then F times text tokens (B, L, R) -> (B, F, N, D)."""
        a, num_frames = self.adapter, len(frames_and_texts) // 2
        frames, texts = frames_and_texts[:num_frames], frames_and_texts[num_frames:]
        slim = [a.down(a.norm(x)) + a.place[index] for index, x in enumerate(frames)]  # F x (B, N, R)
        b, n, r = slim[0].shape
        through_time = torch.stack([a.norm_time(h) for h in slim], dim=2)  # (B, N, F, R)
        moved = a.temporal(through_time.view(b * n, num_frames, r)).view(b, n, num_frames, r)
        out = []
        for index, (x, text) in enumerate(zip(frames, texts, strict=True)):
            h = slim[index] + moved[:, :, index]
            h = h + self._asked(a.norm_text(h), text, mask)
            out.append(x + a.up(h))
        return torch.stack(out, dim=1)

    def _asked(self, h: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """Cross-attention of one frame's tokens (B, N, R) to the text."""
        cross = self.adapter.cross
        q, (k, v) = cross.q(h), cross.kv(text).chunk(2, dim=-1)
        by_head = [part.view(*part.shape[:2], cross.num_heads, -1).transpose(1, 2) for part in (q, k, v)]
        out = attend(*by_head, mask[:, None, None])  # (B, heads, N, R / heads)
        return cross.proj(out.transpose(1, 2).reshape(h.shape))


class PlainVideo(nn.Module):
    """``forward(x_t, t, text) -> prediction`` with the layers of ``model``, which it shares."""

    def __init__(self, model: TinyFusionVideo) -> None:
        super().__init__()
        self.model = model
        self.adapters = nn.ModuleList(PlainAdapter(adapter) for adapter in model.adapters)

    def forward(self, x_t: Tensor, t: Tensor, text: TextFeatures) -> Tensor:
        """x_t (B, 3, F, H, W) float, t (B,) int64, text of B rows -> the prediction, shaped like x_t."""
        model, dit, num_frames = self.model, self.model.dit, x_t.shape[2]
        recompute = model.gradient_checkpointing
        conditions, texts = zip(*(self._condition(t, text) for _ in range(num_frames)), strict=True)
        frames = [dit.embed_patches(x_t[:, :, index]) for index in range(num_frames)]  # F x (B, N, D)
        for block, adapter in zip(dit.blocks, self.adapters, strict=True):
            for index, c in enumerate(conditions):
                frames[index] = maybe_checkpoint(block, frames[index], block.modulation(c), enabled=recompute)
            x = maybe_checkpoint(adapter, text.mask, *frames, *texts, enabled=recompute)
            frames = list(x.unbind(1))
        x = maybe_checkpoint(model.temporal_convolution, torch.stack(frames, dim=1), enabled=recompute)
        last = dit.final_layer
        pixels = [dit.unpatchify(last(x[:, index], last.modulation(c))) for index, c in enumerate(conditions)]
        return torch.stack(pixels, dim=2)

    def _condition(self, t: Tensor, text: TextFeatures) -> tuple[Tensor, Tensor]:
        """One frame's conditioning vector (B, D) and text tokens (B, L, R)."""
        pooled, tokens = self.model.text(text)
        return self.model.dit.t_embedder(self.model.timesteps[t]) + pooled, tokens
