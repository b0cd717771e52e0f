"""R3GAN: The GAN is dead; long live the GAN! A Modern GAN Baseline (Huang et al. 2024, arXiv:2501.05441).

Residual blocks without normalisation, the networks made of them, and the paper's recipes. Imports `ganzoo` only; read
`residual` first.
"""

from ganzoo import hookimpl


@hookimpl
def ganzoo_components() -> list[type]:
    """List the paper's components."""
    from ganzoo_r3gan import discriminator, generator

    return [
        generator.LabelEmbedding,
        generator.Basis,
        generator.ResidualLayer,
        generator.Stack,
        generator.LinearRGB,
        generator.FixupGenerator,
        discriminator.LinearFromRGB,
        discriminator.ResidualDown,
        discriminator.BasisHead,
        discriminator.FixupDiscriminator,
    ]
