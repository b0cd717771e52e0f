"""StyleGAN: A Style-Based Generator Architecture for Generative Adversarial Networks (Karras et al. 2019).

arXiv:1812.04948. Mapping network, noise and AdaIN in `layers`, and the paper's recipes. Imports `ganzoo` only.
"""

from ganzoo import hookimpl


@hookimpl
def ganzoo_components() -> list[type]:
    """List the paper's components."""
    from ganzoo_stylegan import layers

    return [layers.MLP, layers.PixelNoise, layers.AdaIN, layers.AdaINStem]
