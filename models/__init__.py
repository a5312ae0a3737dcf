"""Text encoder, shared layers and backbones."""
