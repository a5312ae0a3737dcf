"""TinyFusion's diffusion transformers (Fang et al. 2024): the model in ``dit``, its published weights in ``weights``.

Written from the papers and from the names and shapes of the published tensors. The published code and weights are
CC BY-NC 4.0 and are not part of this repository (pretrained/README.md).
"""
