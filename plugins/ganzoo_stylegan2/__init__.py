"""StyleGAN2: Analyzing and Improving the Image Quality of StyleGAN (Karras et al. 2020, arXiv:1912.04958).

Layers, topologies and path length regularization, and the paper's recipes. Imports `ganzoo` only; read `modulation`
first.
"""

from ganzoo import hookimpl


@hookimpl
def ganzoo_components() -> list[type]:
    """List the paper's components."""
    from ganzoo_stylegan2 import discriminator, generator, path_length

    return [
        generator.Constant,
        generator.ModConv,
        generator.ModConvRGB,
        generator.ResidualBlock,
        generator.SkipSynthesis,
        discriminator.FilteredDown,
        discriminator.ResidualDown,
        discriminator.SkipTrunk,
        path_length.PathLength,
    ]
