"""Frozen autoencoders that others have trained: AutoencoderKL and AutoencoderTiny of diffusers, from a folder or a hub.

Neither class applies the scaling factor and the shift of its own config; that is done here. KL's latents are the means
of its distributions. The weights are no part of a checkpoint: their fingerprint is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._guards import detect_fake_mode

from models.autoencoders.contract import Autoencoder, AutoencoderError
from models.encoder_files import fingerprint_of, hub_reachable

KINDS = ("AutoencoderKL", "AutoencoderTiny")
PROBE = 64  # px, side of the picture that shows how many channels and cells there are


class FrozenAutoencoder(Autoencoder):
    """``name`` is a hub's or a folder; ``channels`` and ``factor`` are what it is expected to have."""

    def __init__(self, name: str, *, channels: int, factor: int) -> None:
        """Raises:
        AutoencoderError: it is not there, is of another kind or damaged, or has other channels or cells.
        """
        super().__init__()
        self.name, self.channels, self.factor = name, channels, factor
        module = _load(name).eval().requires_grad_(False)
        self._frozen = [module]  # in a list, so that neither weights nor state are the model's
        self.scaling = float(module.config.scaling_factor)
        self.shift = float(getattr(module.config, "shift_factor", None) or 0.0)
        digest = "00" * 8 if detect_fake_mode() else fingerprint_of(module)
        self.register_buffer("fingerprint", torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8))
        found = self.encode_frames(torch.zeros(1, 3, PROBE, PROBE)).shape
        if (found[1], PROBE // found[2]) != (channels, factor):
            raise AutoencoderError(
                f"AUTOENCODER={name} has {found[1]} channels and cells of {PROBE // found[2]} px, the config says "
                f"{channels} and {factor}. Set LATENT_CHANNELS={found[1]} LATENT_FACTOR={PROBE // found[2]}; a "
                "checkpoint's cannot be changed."
            )

    @property
    def module(self) -> Any:
        """The frozen network itself."""
        return self._frozen[0]

    @torch.no_grad()
    def encode_frames(self, frames: Tensor) -> Tensor:
        """(z - shift) * scaling."""
        found = self.module.encode(frames)
        latents = found.latent_dist.mean if hasattr(found, "latent_dist") else found.latents
        return (latents - self.shift) * self.scaling

    @torch.no_grad()
    def decode_frames(self, latents: Tensor) -> Tensor:
        """The network's picture of z = latents / scaling + shift."""
        return self.module.decode(latents / self.scaling + self.shift).sample

    def _apply(self, fn, recurse: bool = True):
        self.module._apply(fn)
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, state: dict, prefix: str, *args: object) -> None:
        """Raises:
        AutoencoderError: the checkpoint was trained in the latents of other weights.
        """
        stored, own = state.get(f"{prefix}fingerprint"), self.fingerprint.cpu()
        if stored is not None and not torch.equal(stored.cpu(), own):
            raise AutoencoderError(
                f"The checkpoint was trained in latents of AUTOENCODER={self.name} with the fingerprint "
                f"{_hex(stored)}; {self.name} here has the fingerprint {_hex(own)}. Use the files that it was trained "
                "with."
            )
        super()._load_from_state_dict(state, prefix, *args)


def _hex(fingerprint: Tensor) -> str:
    return bytes(fingerprint.tolist()).hex()


def _load(name: str) -> nn.Module:
    """In float32; where tensors have no memory, a network of that shape."""
    try:
        import diffusers
    except ImportError as error:
        raise AutoencoderError(
            f"AUTOENCODER={name} needs diffusers: pip install -r requirements-latents.txt. Without: {WITHOUT}"
        ) from error
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    attempts = [True] if Path(name).is_dir() or not hub_reachable() else [True, False]
    for local_only in attempts:  # what is on disk first: a hub that is down must not stop a run
        try:
            config = diffusers.AutoencoderKL.load_config(name, local_files_only=local_only)
            kind = config.get("_class_name")
            if kind not in KINDS:
                raise AutoencoderError(f"AUTOENCODER={name} is a {kind}; wanted {' or '.join(KINDS)}, or {WITHOUT}")
            network = getattr(diffusers, kind)
            if detect_fake_mode():
                return network.from_config(config)
            found, told = network.from_pretrained(
                name, local_files_only=local_only, torch_dtype=torch.float32, output_loading_info=True
            )
            if wrong := [*told["missing_keys"], *told["mismatched_keys"]]:
                raise AutoencoderError(f"AUTOENCODER={name} lacks {len(wrong)} of its tensors, such as {wrong[0]}.")
            return found
        except (OSError, ValueError, RuntimeError) as error:
            reason = error
    raise AutoencoderError(
        f"AUTOENCODER={name} cannot be loaded: it is no folder with a whole autoencoder, and no hub holds it or none "
        f"is reachable ({type(reason).__name__}). Put its files into a folder and use --set AUTOENCODER=FOLDER, or use "
        f"{WITHOUT}"
    ) from reason


WITHOUT = "one that needs no files: --set AUTOENCODER=pca:16"
