"""The autoencoder that AUTOENCODER names."""

from __future__ import annotations

from config import Config
from models.autoencoders.contract import Autoencoder
from models.autoencoders.diffusers_files import FrozenAutoencoder
from models.autoencoders.pca import PatchComponents


def build_autoencoder(config: Config) -> Autoencoder | None:
    """On the CPU, not fitted yet where it is one that is fitted; None where the model works in pixels.

    Raises:
        AutoencoderError: its files cannot be used, or are another's.
    """
    if config.LATENT is None:
        return None
    channels, factor = config.LATENT
    if config.AUTOENCODER.startswith("pca:"):
        return PatchComponents(channels)
    return FrozenAutoencoder(config.AUTOENCODER, channels=channels, factor=factor)
