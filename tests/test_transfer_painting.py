"""Transfers as such: the loss that Gatys minimises, what is matched in the end, AdaIN, resuming."""

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ganzoo.errors import CheckpointError, DataError, Diverged, RecipeError, UsageError
from ganzoo.extractors.conv_random import ConvRandom
from ganzoo.extractors.vgg import VGG19
from ganzoo.extractors.vgg_normalised import NormalisedNet, NormalisedVGG19
from ganzoo.foreign import vgg
from ganzoo_style_transfer.adain import AdaINTransfer, Decoder, OnePass, encode, padded
from ganzoo_style_transfer.feature_maps import STYLE
from ganzoo_style_transfer.gatys import Gatys, Goal
from ganzoo_style_transfer.interfaces import StyleTask, StyleTransferRun
from ganzoo_style_transfer.statistics import gram, mean_std
from ganzoo_style_transfer.style_statistics import BatchNormStatistics, GaussianMMD, Gram, LinearMMD, PolynomialMMD

CPU = torch.device("cpu")
STATISTICS = [Gram, BatchNormStatistics, LinearMMD, PolynomialMMD, GaussianMMD]


def picture(height: int, width: int, seed: int) -> Tensor:
    """Smooth blobs of colour, [1, 3, H, W] in [-1, 1]."""
    small = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(small, (height, width), mode="bicubic").clamp(-1, 1)


def commission(seed: int = 0, *, size: tuple[int, int] = (24, 32)) -> StyleTask:
    return StyleTask(picture(*size, 1), ((picture(30, 20, 2), 1.0),), seed)


def gatys(**options) -> Gatys:
    return Gatys(features=ConvRandom, **options)


def painted(transfer: Gatys, wanted: StyleTask | None = None) -> StyleTransferRun:
    painting = transfer.begin(wanted or commission(), CPU)
    while painting.done < painting.total:
        painting.advance()
    return painting


class TestGoal:
    def goal(self, relative: bool, **more) -> Goal:
        layers, net = more.pop("layers", ("relu1", "relu3")), ConvRandom(3)
        return Goal(net, Gram(), more.pop("of", commission()), "relu2", layers, (0.5, 3.0), relative)

    def test_is_the_papers(self) -> None:
        """alpha sum (F - P)² / 2 + beta sum_l w_l sum (G - A)² / (4 C² M²), w_l = 1 / layers (arXiv:1508.06576)."""
        one = StyleTask(picture(24, 32, 1), ((picture(24, 32, 2), 1.0),))
        x, net = picture(24, 32, 3), ConvRandom(3)
        ours, p, a = (net(image, net.layers) for image in (x, one.content, one.styles[0][0]))
        content = (ours["relu2"] - p["relu2"]).square().sum() / 2
        style = torch.zeros(())
        for name in ("relu1", "relu3"):
            _, c, h, w = ours[name].shape
            error = (gram(ours[name]) - gram(a[name])).square().sum() / (4 * c**2 * (h * w) ** 2)
            style = style + error / 2
        total, parts = self.goal(False, of=one)(x)
        assert parts["content"].item() == pytest.approx(content.item(), rel=1e-5)
        assert parts["style"].item() == pytest.approx(style.item(), rel=1e-4)
        assert total.item() == pytest.approx(0.5 * content.item() + 3 * style.item(), rel=1e-4)

    def test_relative_losses_are_1_for_nothing(self) -> None:
        goal = self.goal(True)
        net = ConvRandom(3)
        blank = {name: torch.zeros_like(x) for name, x in net(picture(24, 32, 3), net.layers).items()}
        assert all(value.item() == pytest.approx(1) for value in goal.parts(blank).values())

    def test_content_and_style_are_where_they_come_from(self) -> None:
        wanted = commission()
        goal = self.goal(True, of=wanted)
        assert goal(wanted.content)[1]["content"].item() == 0
        same = StyleTask(wanted.content, ((wanted.content, 1.0),))
        assert self.goal(True, of=same)(wanted.content)[0].item() < 1e-10

    def test_styles_share(self) -> None:
        """The loss is linear in the weights of styles."""
        content, a, b, x = (picture(24, 32, seed) for seed in range(4))

        def style(*styles: tuple[Tensor, float]) -> float:
            return self.goal(False, of=StyleTask(content, styles))(x)[1]["style"].item()

        mean = 0.25 * style((a, 1.0)) + 0.75 * style((b, 1.0))
        assert style((a, 0.25), (b, 0.75)) == pytest.approx(mean, rel=1e-4)

    def test_a_dead_layer_divides_nothing(self) -> None:
        """Features of zeros for content and style: every loss is 0, none is nan."""
        net = ConvRandom(3)
        for name, buffer in net.named_buffers():
            buffer.zero_() if name.endswith("conv0") else None
        one = StyleTask(picture(16, 16, 0), ((picture(16, 16, 1), 1.0),))
        total, _ = Goal(net, Gram(), one, "relu2", ("relu1",), (1.0, 1.0), True)(picture(16, 16, 2))
        assert total.item() == 0


class TestGatys:
    @pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
    @pytest.mark.parametrize("statistic", STATISTICS)
    def test_the_loss_falls(self, statistic, optimizer) -> None:
        transfer = gatys(statistic=statistic, optimizer=optimizer, steps=40, style_weight=100.0)
        before = transfer.begin(commission(), CPU).losses()
        after = painted(transfer).losses()
        assert after["total"] < 0.5 * before["total"]
        assert after["style"] < 0.5 * before["style"]

    def test_statistics_are_matched(self) -> None:
        """Means and deviations of each channel come to those of the style, of which they were far."""
        wanted, net = commission(), ConvRandom(3)
        style = net(wanted.styles[0][0], net.layers)

        def far(image: Tensor) -> float:
            maps, errors = net(image, net.layers), []
            for name in net.layers:
                for ours, theirs in zip(mean_std(maps[name]), mean_std(style[name])):
                    errors.append((ours - theirs).norm() / theirs.norm())
            return float(max(errors))

        made = painted(gatys(statistic=BatchNormStatistics, content_weight=0.0, steps=200), wanted).picture
        assert far(wanted.content) > 0.3
        assert far(made) < 0.03

    def test_without_style_the_content_comes_out_of_noise(self) -> None:
        wanted = commission(size=(16, 16))
        transfer = gatys(style_weight=0.0, init="noise", content_layer="relu1", steps=200)
        assert painted(transfer, wanted).losses()["content"] < 1e-4 * transfer.begin(wanted, CPU).losses()["content"]

    def test_without_style_the_content_stays(self) -> None:
        made = painted(gatys(style_weight=0.0, steps=5))
        assert torch.allclose(made.picture, commission().content, atol=1e-6)

    def test_noise_is_of_the_seed(self) -> None:
        first, again, other = (gatys(init="noise").begin(commission(seed), CPU).picture for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_leaves_the_generator_alone(self) -> None:
        torch.manual_seed(3)
        before = torch.get_rng_state()
        painted(gatys(statistic=partial(GaussianMMD, positions=10), steps=2, optimizer="adam"))
        assert torch.equal(before, torch.get_rng_state())

    @pytest.mark.parametrize(("optimizer", "at"), [("adam", 7), ("adam", 1), ("lbfgs", 10), ("lbfgs", 30)])
    @pytest.mark.parametrize("statistic", [Gram, partial(GaussianMMD, positions=40)])
    def test_resumes_to_the_bit(self, statistic, optimizer, at, tmp_path) -> None:
        transfer = gatys(statistic=statistic, optimizer=optimizer, steps=40, init="noise")
        first = transfer.begin(commission(5), CPU)
        while first.done < at:
            first.advance()
        file = tmp_path / "state.safetensors"
        save_file({name: t.contiguous() for name, t in first.state().items()}, file)
        second = transfer.begin(commission(5), CPU)
        second.restore(load_file(file))
        second.done = at
        for painting in (first, second):
            while painting.done < painting.total:
                painting.advance()
        assert torch.equal(first.picture, second.picture)
        assert torch.equal(first.picture, painted(transfer, commission(5)).picture)

    def test_steps_of_lbfgs_are_those_of_one_long_call(self) -> None:
        """And no image is evaluated twice, although each step begins with an evaluation."""
        painting = gatys(init="noise", steps=30).begin(commission(), CPU)
        goal, seen = painting.goal, []

        def counting(x: Tensor):
            seen.append(x.detach().clone())
            return goal(x)

        painting.goal = counting
        while painting.done < 30:
            painting.advance()
        x = gatys(init="noise").begin(commission(), CPU).image
        one_call = torch.optim.LBFGS(
            [x], max_iter=30, max_eval=1000, history_size=20, line_search_fn="strong_wolfe", tolerance_change=1e-12
        )

        def closure() -> float:
            one_call.zero_grad()
            loss = goal(x)[0]
            loss.backward()
            return float(loss.detach())

        one_call.step(closure)
        assert torch.equal(painting.image, x)
        assert not any(torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])

    def test_a_layer_that_is_not_there(self) -> None:
        with pytest.raises(RecipeError, match=r"has no layer 'relu9'\. Choose one of relu1, relu2, relu3"):
            gatys(style_layers=["relu9"]).begin(commission(), CPU)

    def test_diverging_is_said(self) -> None:
        painting = gatys(lr=1e30, optimizer="adam", steps=20).begin(commission(), CPU)
        with pytest.raises(Diverged, match="no longer finite"):
            for _ in range(20):
                painting.advance()

    def test_colours_are_kept(self) -> None:
        """The style is recoloured: its mean colour, and so that of the picture, is the content's."""
        wanted = commission()
        content, style = wanted.content.mean(dim=[2, 3]), wanted.styles[0][0].mean(dim=[2, 3])
        kept, lost = (painted(gatys(preserve_color=p, steps=60)).picture.mean(dim=[2, 3]) for p in (True, False))
        assert (kept - content).norm() < 0.2 * (style - content).norm()
        assert (lost - content).norm() > 0.5 * (style - content).norm()

    def test_hidden_pixels_have_no_colour(self) -> None:
        """What alpha hides of a content does not change the colours that a style is given."""
        content, opaque = picture(24, 32, 1), torch.ones(24, 32, dtype=torch.bool)
        opaque[:, 16:] = False
        hidden = content.clone()
        hidden[:, :, ~opaque] = 1.0
        styles = ((picture(30, 20, 2), 1.0),)
        made = [
            gatys(preserve_color=True).begin(StyleTask(image, styles, 0, opaque), CPU).goal.styles[0][1]["relu1"][0]
            for image in (content, hidden)
        ]
        assert torch.equal(*made)


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    """An empty cache for files of weights."""
    monkeypatch.setenv("GZ_CACHE", str(tmp_path))
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


def thin(monkeypatch) -> None:
    """VGG of narrow layers, so that files are small."""
    monkeypatch.setattr(vgg, "WIDTHS", (4, 6, 8, 10, 12))


class TestWeights:
    def test_missing_vgg(self, weights) -> None:
        with pytest.raises(CheckpointError, match=r"vgg19-dcbb9e9d.pth is not in .*weights"):
            Gatys().begin(commission(), CPU)

    def test_vgg19_looks_through_the_users_file(self, weights, monkeypatch) -> None:
        thin(monkeypatch)
        torch.manual_seed(0)
        net = vgg.VGG(19)
        save_file(net.state_dict(), weights / "vgg19.safetensors")
        x = picture(32, 48, 0)
        ours = VGG19(3)(x, STYLE)
        theirs = net(vgg.imagenet(x), STYLE)
        assert all(torch.equal(ours[name], theirs[name]) for name in STYLE)
        average = VGG19(3, pool="average")(x, ("relu1_1", "relu2_1"))
        assert torch.equal(average["relu1_1"], theirs["relu1_1"])
        assert not torch.equal(average["relu2_1"], theirs["relu2_1"])
        made = painted(Gatys(steps=10), commission(size=(32, 32)))
        assert made.picture.shape == (1, 3, 32, 32)

    def test_an_image_too_small_for_vgg(self, weights, monkeypatch) -> None:
        thin(monkeypatch)
        save_file(vgg.VGG(19).state_dict(), weights / "vgg19.safetensors")
        with pytest.raises(DataError, match="too small"):
            Gatys().begin(commission(size=(8, 40)), CPU)

    def numbered(self, net: nn.Module, places: list[int]) -> dict[str, Tensor]:
        tensors = list(net.state_dict().values())
        names = [f"{place}.{what}" for place in places for what in ("weight", "bias")]
        return dict(zip(names, tensors))

    def test_published_names_of_adain(self, weights, monkeypatch, tmp_path) -> None:
        """Both files number their convolutions within a list of layers; the encoder's goes on beyond relu4_1."""
        thin(monkeypatch)
        torch.manual_seed(0)
        net = NormalisedNet()
        file = self.numbered(net, [0, 2, 5, 9, 12, 16, 19, 22, 25, 29])
        more = {"32.weight": torch.zeros(10, 10, 3, 3), "32.bias": torch.zeros(10)}
        torch.save(file | more, weights / "vgg_normalised.pth")
        x = picture(32, 32, 0)
        assert torch.equal(NormalisedVGG19(3)(x, ("relu4_1",))["relu4_1"], net(x, ("relu4_1",))["relu4_1"])
        decoder = Decoder((4, 4, 0, 6, 6, 0, 8, 8, 8, 8, 0, 10))
        torch.save(self.numbered(decoder, [1, 5, 8, 11, 14, 18, 21, 25, 28]), tmp_path / "decoder.pth")
        painting = AdaINTransfer(weights=tmp_path / "decoder.pth").begin(commission(size=(32, 32)), CPU)
        assert isinstance(painting, OnePass)
        assert all(torch.equal(a, b) for a, b in zip(painting.decoder.parameters(), decoder.parameters()))

    @pytest.mark.parametrize(
        ("tensors", "said"),
        [
            ({"0.weight": torch.zeros(3)}, "has 1 convolutions, not 10 or more"),
            ({"head.kernel": torch.zeros(3)}, "'head.kernel' is no numbered convolution"),
            ({f"{i}.weight": torch.zeros(3) for i in range(10)}, "lacks the bias of its convolution 0"),
        ],
    )
    def test_a_file_of_something_else(self, weights, tensors, said) -> None:
        save_file(tensors, weights / "vgg_normalised.safetensors")
        with pytest.raises(CheckpointError, match=said):
            NormalisedVGG19(3)

    def test_adain_needs_a_decoder(self) -> None:
        with pytest.raises(UsageError, match="--weights"):
            AdaINTransfer().begin(commission(), CPU)

    def test_a_snapshot_of_something_else(self, tmp_path) -> None:
        save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
        with pytest.raises(CheckpointError, match=r"x\.safetensors"):
            AdaINTransfer(weights=tmp_path / "x.safetensors").begin(commission(), CPU)


class TestOnePass:
    def paint(self, wanted: StyleTask, alpha: float = 1.0) -> Tensor:
        torch.manual_seed(0)
        painting = OnePass(ConvRandom(3), Decoder(ConvRandom.plan("relu3")), wanted, alpha)
        painting.advance()
        assert painting.done == painting.total
        return painting.made

    @pytest.mark.parametrize("size", [(24, 32), (25, 31), (6, 9)])
    def test_keeps_the_size(self, size) -> None:
        assert self.paint(commission(size=size)).shape == (1, 3, *size)

    def test_strength_0_is_the_decoded_content(self) -> None:
        wanted, net = commission(), ConvRandom(3)
        torch.manual_seed(0)
        with torch.no_grad():
            plain = Decoder(ConvRandom.plan("relu3"))(encode(net, wanted.content))
        assert torch.equal(self.paint(wanted, alpha=0.0), plain)
        assert not torch.equal(self.paint(wanted), plain)

    def test_styles_are_interpolated(self) -> None:
        """A weight of 1 is that style alone; equal styles in any weights are one."""
        content, a, b = (picture(24, 32, seed) for seed in range(3))
        alone = self.paint(StyleTask(content, ((a, 1.0),)))
        assert torch.equal(self.paint(StyleTask(content, ((a, 1.0), (b, 0.0)))), alone)
        twice = self.paint(StyleTask(content, ((a, 0.3), (a, 0.7))))
        assert torch.allclose(twice, alone, atol=1e-5)
        assert not torch.allclose(self.paint(StyleTask(content, ((a, 0.5), (b, 0.5)))), alone, atol=1e-2)

    def test_padding_repeats_the_border(self) -> None:
        x = padded(picture(5, 6, 0), 4)
        assert x.shape == (1, 3, 8, 8)
        assert torch.equal(x[:, :, 4:], x[:, :, 4:5].expand(-1, -1, 4, -1))
        assert padded(x, 4) is x or torch.equal(padded(x, 4), x)
