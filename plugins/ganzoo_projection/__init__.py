"""Real images into latent space: how images are compared, and how latents are searched for."""

from ganzoo import hookimpl

GANZOO_API = 2


@hookimpl
def ganzoo_components() -> list[type]:
    """The projectors of this plugin, and the training of encoders."""
    from ganzoo_projection.encoder_training import Encoding
    from ganzoo_projection.projectors.encoder import EncoderProjector
    from ganzoo_projection.projectors.image2stylegan import Image2StyleGAN
    from ganzoo_projection.projectors.stylegan2 import StyleGAN2

    return [Image2StyleGAN, StyleGAN2, EncoderProjector, Encoding]
