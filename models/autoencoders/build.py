"""The autoencoder that AUTOENCODER names."""

from __future__ import annotations

from config import Config
from models.autoencoders.contract import Autoencoder
from models.autoencoders.pca import PatchComponents


def build_autoencoder(config: Config) -> Autoencoder | None:
    """Not fitted yet, on the CPU; None where the model works in pixels."""
    if config.LATENT is None:
        return None
    return PatchComponents(config.LATENT[0])
