"""StyleGAN3: Alias-Free Generative Adversarial Networks (Karras et al. 2021, arXiv:2106.12423).

The synthesis network, the blur of configuration R, the equivariance metrics, and recipes. Imports `ganzoo` only; read
`layer_table`, then `generator`.
"""

from ganzoo import hookimpl


@hookimpl
def ganzoo_components() -> list[type]:
    """List the paper's components."""
    from ganzoo_stylegan3 import blur, equivariance, fourier, generator

    return [
        generator.AliasFreeSynthesis,
        fourier.FourierStem,
        blur.Blur,
        equivariance.EquivarianceT,
        equivariance.EquivarianceR,
    ]
