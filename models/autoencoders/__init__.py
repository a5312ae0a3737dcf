"""Between clips in pixels and the latents that a backbone may work in: one contract, one autoencoder a file."""
