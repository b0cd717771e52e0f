"""Training of AdaIN's decoder with `gz train`: its loss, its schedule, its data, resuming, and what comes of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from ganzoo import recipe
from ganzoo.errors import RecipeError, UsageError
from ganzoo.model.restore import build_experiment
from ganzoo.recipe.node import parse
from ganzoo.recipe.source import Source
from ganzoo.registry.lookup import registry
from ganzoo.training.learner import Learner
from ganzoo_cli import main
from ganzoo_style_transfer.adain_training import AdaINTraining


@pytest.fixture
def folders(tmp_path) -> Path:
    """Ten contents and seven styles of 24x20 pixels."""
    rng = np.random.default_rng(0)
    for name, count in (("contents", 10), ("styles", 7)):
        (tmp_path / name).mkdir()
        for i in range(count):
            small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
            small.resize((20, 24), Image.Resampling.BICUBIC).save(tmp_path / name / f"{i}.png")
    return tmp_path


def tree(folders: Path, **more) -> dict:
    return {
        "use": "adain",
        "image": {"size": 16},
        "resize": 20,
        "features": "conv-random",
        "dataset": {"use": "folder", "path": str(folders / "contents")},
        "styles": {"use": "folder", "path": str(folders / "styles")},
        "training": {"kimg": 0.032, "batch": 4, "lr": 1e-3, "precision": "fp32", "tick_kimg": 0.008},
    } | more


def learner(folders: Path, **more) -> Learner:
    torch.manual_seed(0)
    return build_experiment(parse(Source(tree(folders, **more)), registry())).learner(torch.device("cpu"))


def contents(folders: Path, count: int = 4) -> Tensor:
    dataset = build_experiment(parse(Source(tree(folders)), registry())).dataset()
    return torch.stack([torch.from_numpy(dataset.image(i).copy()) for i in range(count)])


def no_labels(count: int) -> Tensor:
    return torch.zeros(count, 0)


class TestObjective:
    def test_is_the_papers(self, folders) -> None:
        """Eq. 11 to 13 with means for norms, as the published code has them; from torch's own functions."""
        ours = learner(folders, content_weight=2.0, style_weight=7.0)
        draw = torch.Generator().manual_seed(0)
        content, style = (torch.rand(3, 3, 16, 16, generator=draw) * 2 - 1 for _ in range(2))
        net, layers = ours.features, ("relu1", "relu2", "relu3")

        def moments(x: Tensor) -> tuple[Tensor, Tensor]:
            flat = x.flatten(2)
            return flat.mean(dim=2), (flat.var(dim=2) + 1e-5).sqrt()

        f, s = net(content, layers), net(style, layers)
        (mean, std), (style_mean, style_std) = moments(f["relu3"]), moments(s["relu3"])
        normal = (f["relu3"] - mean[:, :, None, None]) / std[:, :, None, None]
        target = normal * style_std[:, :, None, None] + style_mean[:, :, None, None]
        made = net(ours.decoder(target), layers)
        expected = 2 * F.mse_loss(made["relu3"], target)
        for name in layers:
            for a, b in zip(moments(made[name]), moments(s[name])):
                expected = expected + 7 * F.mse_loss(a, b)
        found = ours.objective(content, style, range(3), None)
        assert found.item() == pytest.approx(expected.item(), rel=1e-5)

    def test_parts_of_a_batch_make_the_whole(self, folders) -> None:
        """The loss is a mean over samples, so gradients accumulate."""
        ours = learner(folders)
        draw = torch.Generator().manual_seed(0)
        pair = tuple(torch.rand(4, 3, 16, 16, generator=draw) * 2 - 1 for _ in range(2))
        whole = ours.objective(*pair, range(4), None)
        halves = [ours.objective(*pair, range(i, i + 2), None) for i in (0, 2)]
        assert whole.item() == pytest.approx((halves[0] + halves[1]).item() / 2, rel=1e-5)


class TestSteps:
    def test_the_loss_falls_and_the_encoder_stays(self, folders) -> None:
        ours, real = learner(folders), contents(folders)
        before = {name: t.clone() for name, t in ours.features.state_dict().items()}
        losses = []
        for _ in range(60):
            ours.step(real, no_labels(4), no_labels(4))
            losses.append(ours.report()["loss/content"])
        assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])
        assert all(torch.equal(t, before[name]) for name, t in ours.features.state_dict().items())

    def test_the_learning_rate_decays(self, folders) -> None:
        """lr / (1 + 5e-5 t) at iteration t; the recipe's own decay in its place."""
        ours, real = learner(folders, lr_decay=0.5), contents(folders)
        rates = []
        for _ in range(4):
            ours.step(real, no_labels(4), no_labels(4))
            rates.append(ours.optimizers["decoder"].param_groups[0]["lr"])
        assert rates == pytest.approx([1e-3 / (1 + 0.5 * t) for t in range(4)])
        assert AdaINTraining(features=registry().get("extractor", "conv-random")).lr_decay == 5e-5

    def test_each_style_is_shown_once_an_epoch(self, folders, monkeypatch) -> None:
        ours, real, seen = learner(folders, resize=None), contents(folders), []
        monkeypatch.setattr(ours, "cropped", lambda images: seen.append(images) or images[:, :, :16, :16].float())
        monkeypatch.setattr(ours, "optimize", lambda *args: None)
        small = real[:, :, :16, :16]
        for _ in range(7):
            ours.step(small, no_labels(4), no_labels(4))
        styles = torch.cat(seen[1::2]).flatten(1)
        assert len(styles) == 28
        counts = torch.unique(styles, dim=0, return_counts=True)[1]
        assert counts.tolist() == [4] * 7

    def test_crops_are_parts_of_the_image(self, folders) -> None:
        ours = learner(folders)
        image = torch.arange(3 * 20 * 20).remainder(251).to(torch.uint8).reshape(1, 3, 20, 20)
        torch.manual_seed(0)
        places = set()
        for _ in range(200):
            crop = ((ours.cropped(image)[0] + 1) * 127.5).round().to(torch.uint8)
            found = [
                (y, x) for y in range(5) for x in range(5) if torch.equal(crop, image[0, :, y : y + 16, x : x + 16])
            ]
            assert len(found) == 1
            places.add(found[0])
        assert len(places) == 25


class TestTrain:
    def run(self, folders, capsys, *args: object) -> tuple[int, str]:
        code = main(["train", *(str(a) for a in args)])
        captured = capsys.readouterr()
        return code, captured.err

    @pytest.fixture
    def written(self, folders, monkeypatch) -> Path:
        from ganzoo.recipe.source import to_yaml

        monkeypatch.chdir(folders)
        path = folders / "mine.yaml"
        path.write_text(to_yaml(tree(folders)), encoding="utf-8")
        return path

    def test_trains_resumes_to_the_bit_and_stylizes(self, folders, written, capsys) -> None:
        code, err = self.run(folders, capsys, written, "--outdir", "whole")
        assert code == 0, err
        assert "decoder 23,523 parameters" in err
        assert self.run(folders, capsys, written, "--outdir", "parts", "--kimg", "0.016")[0] == 0
        assert self.run(folders, capsys, "--resume", "latest", "--outdir", "parts", "--kimg", "0.032")[0] == 0
        last = [sorted(Path(name).glob("*/snapshot-*.safetensors"))[-1] for name in ("whole", "parts")]
        a, b = map(load_file, last)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)
        assert all(name.startswith("decoder.") for name in a)
        args = ("contents/0.png", "styles/0.png", "--method", "adain", "--weights", last[0].parent, "--out", "x.png")
        assert main(["stylize", *map(str, args)]) == 0
        with Image.open("x.png") as made:
            assert made.size == (20, 24)

    def test_without_styles(self, folders, written, capsys) -> None:
        code, err = self.run(folders, capsys, written, "--set", "styles=null")
        assert code == 2
        assert "names no style images" in err

    def test_generating_from_it_is_refused(self, folders, written, capsys) -> None:
        assert self.run(folders, capsys, written, "--kimg", "0.004")[0] == 0
        (snapshot,) = Path("runs").glob("*/snapshot-*.safetensors")
        assert main(["generate", str(snapshot)]) == 1
        assert "holds no generator" in capsys.readouterr().err


class TestRefused:
    @pytest.mark.parametrize(
        ("more", "said"),
        [
            ({"image": {"size": 18}, "resize": None}, "18"),
            ({"image": {"size": 16, "channels": 4}}, "RGB"),
            ({"image": {"size": 32}}, "resize: 20x20 is smaller than the crops of 32x32"),
        ],
    )
    def test_sizes_that_do_not_go_together(self, folders, more, said) -> None:
        with pytest.raises((UsageError, RecipeError), match=said):
            learner(folders, **more)


def test_the_recipe_adain_is_the_papers() -> None:
    """160,000 iterations of 8 at 1e-4, style weight 10, crops of 256 from 512, decay 5e-5; 3,505,219 parameters."""
    node = recipe.load("adain")
    training = node.value("training")
    assert (training.kimg * 1000 / training.batch, training.batch, training.lr) == (160_000, 8, 1e-4)
    assert (node.value("style_weight"), node.value("lr_decay"), node.value("resize")) == (10, 5e-5, 512)
    assert node.value("image").shape().size == (256, 256)
    with torch.device("meta"):
        nets = build_experiment(node).networks()
    assert {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()} == {"decoder": 3_505_219}


def test_the_small_recipe_needs_no_file() -> None:
    assert build_experiment(recipe.load("adain-random")).networks()


def test_a_recipe_that_extends_it_is_of_its_kind() -> None:
    node = recipe.load({"extends": "adain-random", "style_weight": 3})
    assert (node.cls.name, node.value("style_weight")) == ("adain", 3)
