"""A trained generator from a checkpoint, for sampling from Python and by commands.

The same seed gives the same picture:

    model = ganzoo.load("snapshot.safetensors")
    pictures = model.sample(seeds=[1, 2], psi=0.7)

Style codes lie between a seed and its picture, and can be changed there:

    ws = model.styles([1, 2])
    image = model.render(ws.mean(dim=0, keepdim=True))
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image as PIL
from torch import Tensor, nn

from ganzoo.errors import CheckpointError, UsageError
from ganzoo.interfaces import Generator, NoiseMode, Stage
from ganzoo.io import hashes
from ganzoo.io.images import Pixels, picture
from ganzoo.model.checkpoint import Header
from ganzoo.model.restore import growth_note, load_gan
from ganzoo.nn.arguments import in_words, require_latents
from ganzoo.nn.pixels import to_uint8
from ganzoo.recipe.node import Node
from ganzoo.registry.arguments import checked_arguments
from ganzoo.training.device import choose_device, free_memory
from ganzoo.training.seeds import latents
from ganzoo.types import Image, Label, Latent, Styles
from ganzoo.version import __version__

MAX_PSI = 10  # absolute truncation psi
LabelInput = Sequence[float] | int | None  # a label as users give it: a vector, a class number, or none


def one_by_one(compute: Callable[[Tensor], Tensor], batch: Tensor, batch_size: int = 1) -> Tensor:
    """Compute each sample of a batch by itself, from a contiguous copy, and concatenate the results.

    A sample's result then depends to the bit on that sample only: another batch size or memory alignment would change
    the order of floating-point sums. A `batch_size` above 1 is faster, and gives that up.

    Args:
        compute: maps [n, ...] to [n, ...]
        batch: [N, ...]
        batch_size: n
    """
    starts = range(0, len(batch), batch_size)
    return torch.cat([compute(batch[i : i + batch_size].clone(memory_format=torch.contiguous_format)) for i in starts])


class Model:
    """A generator, the moving average of training, with the metadata of its checkpoint.

    Args:
        G: the generator, in evaluation mode
        header: metadata of the checkpoint
        path: of the checkpoint, for messages
        device: of the generator
        stage: how far it had grown
        recipe: of the whole GAN, checked
    """

    def __init__(
        self, G: Generator, header: Header, path: Path, device: torch.device, stage: Stage, recipe: Node
    ) -> None:
        self.G = G
        self.header = header
        self.path = path
        self.device = device
        self.stage = stage
        self.recipe = recipe

    @checked_arguments
    def images(
        self,
        seeds: Sequence[int],
        *,
        psi: float = 1.0,
        cutoff: int | None = None,
        label: LabelInput = None,
        noise: NoiseMode = "const",
        batch_size: int = 1,
    ) -> Image:
        """Generate images in about [-1, 1], [N, C, H, W], on the CPU.

        A seed gives the same image whatever the other seeds are. A generator that was still growing gives images of
        the size it had reached.

        Args:
            seeds: one for each image
            psi: truncation; below 1 images are closer to the mean, more alike and better
            cutoff: number of layers that are truncated; None for all
            label: class number or label vector, for a conditional model
            noise: "const" uses the stored noise, "random" noise of the image's seed, "none" none
            batch_size: images computed together; above 1, an image's last bits depend on the others

        Raises UsageError for values out of range.
        """
        ws = self.styles(seeds, psi=psi, cutoff=cutoff, label=label)
        return self.render(ws, noise=noise, seeds=seeds, batch_size=batch_size)

    @checked_arguments
    def sample(
        self,
        seeds: Sequence[int],
        *,
        psi: float = 1.0,
        cutoff: int | None = None,
        label: LabelInput = None,
        noise: NoiseMode = "const",
    ) -> list[PIL.Image]:
        """Generate images as `images` does, as PIL pictures."""
        images = self.images(seeds, psi=psi, cutoff=cutoff, label=label, noise=noise)
        return [picture(pixels) for pixels in self.pixels(images)]

    @checked_arguments
    def styles(
        self, seeds: Sequence[int], *, psi: float = 1.0, cutoff: int | None = None, label: LabelInput = None
    ) -> Styles:
        """Return the seeds' style codes, [N, L, W], truncated."""
        return self.truncate(self.map(latents(seeds, self.G.z_dim), label), psi, cutoff)

    @checked_arguments
    @torch.no_grad()
    def map(self, z: Latent, label: LabelInput = None) -> Styles:
        """Map latents [N, Z] to style codes [N, L, W], not truncated."""
        require_latents(z, self.G.z_dim, str(self.path))
        row = self.label(label)
        return one_by_one(lambda latent: self.G.styles(latent, row, self.stage).contiguous(), z.to(self.device))

    @checked_arguments
    @torch.no_grad()
    def truncate(self, ws: Styles, psi: float, cutoff: int | None = None) -> Styles:
        """Pull style codes, or those of the first `cutoff` layers, towards the mean: w_mean + psi * (w - w_mean)."""
        self._require_styles(ws)
        if not abs(psi) <= MAX_PSI:  # true for NaN too
            raise UsageError(
                f"truncation {psi}: choose from -{MAX_PSI} to {MAX_PSI}, as 0.7, and 1 for none: training has not "
                f"reached style codes farther from the mean."
            )
        if cutoff is not None and not 0 <= cutoff <= self.G.num_ws:
            raise UsageError(
                f"truncation cutoff {cutoff}: choose from 0 to {self.G.num_ws}, the layers of {self.path}."
            )
        return one_by_one(lambda code: self.G.truncate(code, psi, cutoff), ws.to(self.device))

    @checked_arguments
    @torch.no_grad()
    def render(
        self, ws: Styles, *, noise: NoiseMode = "const", seeds: Sequence[int] | None = None, batch_size: int = 1
    ) -> Image:
        """Turn style codes [N, L, W] into images in about [-1, 1], [N, C, H, W], on the CPU.

        Args:
            ws: style codes
            noise: as for `images`
            seeds: of the images' noise where it is "random"; None for new noise
            batch_size: as for `images`
        """
        self._require_styles(ws)
        if batch_size < 1 or (seeds is not None and len(seeds) != len(ws)):
            raise UsageError(f"{len(ws)} images, {batch_size} at once: at least 1, and one seed for each, or none.")
        remaining = iter(seeds if seeds is not None else [])

        def synthesize(w: Styles) -> Image:
            with self.G.noise(noise, seeds=list(islice(remaining, len(w))) or None):
                return self.G.synthesize(w, self.stage)[-1].cpu()

        return one_by_one(synthesize, ws.to(self.device, self.G.w_mean.dtype), batch_size)

    def _require_styles(self, ws: Tensor) -> None:
        """Raise UsageError for what are no style codes of this model."""
        layers, width = self.G.num_ws, self.G.w_mean.numel()
        if ws.ndim != 3 or tuple(ws.shape[1:]) != (layers, width) or not len(ws):
            fault = f"takes style codes [N, {layers}, {width}], and got {in_words(ws)}"
            raise UsageError(fault, place=str(self.path))

    def largest_batch(self, most: int = 32) -> int:
        """Return how many images, `most` at most, can be computed at once within half of the free memory.

        An image is estimated to need the outputs of all modules together: 1.1 to 2.4 times what it does need, in
        StyleGAN2 of 32x32 to 1024x1024.
        """
        outputs: dict[int, Tensor] = {}  # by address; they are kept, so that no two have the same

        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                outputs[output.data_ptr()] = output

        hooks = [module.register_forward_hook(keep) for module in self.G.modules()]
        try:
            image = self.render(torch.zeros(1, self.G.num_ws, self.G.w_mean.numel()), noise="none")
        finally:
            for hook in hooks:
                hook.remove()
        needed = (image.nbytes + sum(t.nbytes for t in outputs.values())) / 2**30  # GiB per image
        return min(most, max(1, int(free_memory(self.device) / 2 / needed)))

    @checked_arguments
    def mix(
        self,
        row: int,
        col: int,
        layers: Iterable[int],
        *,
        psi: float = 1.0,
        cutoff: int | None = None,
        label: LabelInput = None,
        noise: NoiseMode = "const",
    ) -> Image:
        """Generate the image of seed `row` with the styles of seed `col` in some layers, [1, C, H, W].

        Its noise is that of `row`. Other options are as for `images`.
        """
        mixed_layers = list(layers)
        for layer in mixed_layers:
            if not 0 <= layer < self.G.num_ws:
                raise UsageError(f"layer {layer}: {self.path} has layers 0 to {self.G.num_ws - 1}.")
        ws = self.styles([row, col], psi=psi, cutoff=cutoff, label=label)
        mixed = ws[:1].clone()
        mixed[0, mixed_layers] = ws[1, mixed_layers]
        return self.render(mixed, noise=noise, seeds=[row])

    @cached_property
    def styled(self) -> tuple[int, ...]:
        """The layers whose style code images depend on, at the size the generator has reached.

        Found by the gradient, so it holds for any generator: ProGAN's convolutions take no style, and the layers
        of sizes that a GAN has not grown to are not used.
        """
        ws = self.styles([0], label=None if not self.G.labels else 0).requires_grad_()
        with torch.enable_grad(), self.G.noise("none"):
            image = self.G.synthesize(ws, self.stage)[-1]
            direction = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)).to(self.device)
            (gradient,) = torch.autograd.grad((image * direction).sum(), ws)
        return tuple(int(i) for i in gradient[0].abs().amax(dim=1).nonzero()[:, 0])

    @checked_arguments
    def pixels(self, images: Image) -> Pixels:
        """Convert images to uint8 [N, C, H, W]. Raises CheckpointError where one has values that are not finite."""
        if not images.isfinite().all():
            raise CheckpointError(
                f"{self.path}: an image has values that are not finite: choose a truncation nearer 1, or an earlier "
                f"snapshot if its training diverged."
            )
        return to_uint8(images).numpy()

    @property
    def unfinished(self) -> str:
        """'still growing at 4x4 of 32x32', for a generator that gives images of the size it had reached; or ""."""
        return growth_note(self.G.shape, self.stage)

    @property
    def has_mapping(self) -> bool:
        """Whether style codes come from a learned mapping network, so that truncation has a mean to pull towards.

        Without one, as in ProGAN and MSG-GAN, the style code is the latent itself, on a sphere around a mean of
        about 0: psi only changes its length, to one that training has not shown the generator.
        """
        return self.G.has_mapping

    def about(self) -> dict[str, Any]:
        """Return the metadata of pictures of this model: versions, recipe and length of training."""
        return {
            "ganzoo": __version__,
            "recipe": hashes.recipe_hash(self.header.recipe),
            "kimg": self.header.kimg,
        }

    def label(self, label: LabelInput) -> Label:
        """Return a label as the generator takes it, [1, K], or None. Raises UsageError for one out of range."""
        k = self.G.labels
        if label is None or not k:
            if (label is None) == (k == 0):
                return None
            if k and (vector := self.header.data.get("label")):
                example = ",".join(f"{value:g}" for value in vector)
                raise UsageError(
                    f"was trained on labels that are vectors of {k} numbers",
                    place=str(self.path),
                    cure=f"give one, as --label {example} (in Python label=[{example}])",
                )
            raise UsageError(
                f"{self.path} was trained on {k} classes: name one from 0 to {k - 1} (--class 0, or --class 0-{k - 1}; "
                f"in Python label=0)."
                if k
                else f"{self.path} was trained without classes: leave the class or label out."
            )
        if isinstance(label, int):
            if not 0 <= label < k:
                raise UsageError(f"class {label}: choose from 0 to {k - 1}.")
            return torch.eye(k, device=self.device)[[label]]
        if len(label) != k or not all(abs(x) <= torch.finfo(torch.float32).max for x in label):
            raise UsageError(f"label {list(label)}: give {k} finite numbers, or a class from 0 to {k - 1}.")
        return torch.tensor([list(label)], dtype=torch.float32, device=self.device)


@checked_arguments
def load(path: str | Path, device: str | torch.device = "auto") -> Model:
    """Load a snapshot for sampling.

    Args:
        path: a snapshot-*.safetensors
        device: "auto", "cpu", "cuda", "cuda:1" or "mps", or a torch.device

    Raises CheckpointError, or PluginError where a plugin it needs is missing.
    """
    path = Path(path)
    target = choose_device(str(device))
    header, recipe, gan = load_gan(path, "G_ema")
    return Model(
        G=gan.G.to(target).eval().requires_grad_(False),
        header=header,
        path=path,
        device=target,
        stage=gan.stage_at(header.images),
        recipe=recipe,
    )
