"""The diffusion process and the assembly of the parts."""
