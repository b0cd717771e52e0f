"""Names for tensor shapes, and the ranges that options usually have.

N batch, C channels, H W pixels, Z latent, W style, L layers, K labels.
"""

from collections.abc import Callable
from typing import Annotated, TypeAlias

from annotated_types import Ge, Gt
from torch import Tensor

Latent: TypeAlias = Tensor  # [N, Z] standard normal
Label: TypeAlias = Tensor | None  # [N, K] one-hot or real-valued; None where a GAN is unconditional
Style: TypeAlias = Tensor  # [N, W] one style code: the papers' intermediate latent w
Styles: TypeAlias = Tensor  # [N, L, W] one style code w per layer (W+)
Maps: TypeAlias = Tensor  # [N, C, H, W] feature maps
Image: TypeAlias = Tensor  # [N, C, H, W] in [-1, 1]
Pyramid: TypeAlias = tuple[Tensor, ...]  # images, coarse to fine; an ordinary GAN's holds one
Logits: TypeAlias = Tensor  # [N, P] one score a patch; P is 1 for a discriminator that scores whole images
PerSample: TypeAlias = Tensor  # [N]
Size: TypeAlias = tuple[int, int]  # (height, width)
Plan: TypeAlias = list[tuple[Size, int]]  # [(size, channels), ...] coarse to fine
Count = Annotated[int, Ge(1)]
Positive = Annotated[float, Gt(0)]
Weight = Annotated[float, Ge(0)]
Progress = Callable[[str, int, int], None]  # what is being worked on, done, total
