"""StyleGAN2: Analyzing and Improving the Image Quality of StyleGAN (Karras et al. 2020, arXiv:1912.04958)."""

from ganzoo import hookimpl


@hookimpl
def ganzoo_components() -> list[type]:
    """The paper's components."""
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
