"""Recipes and checkpoints of the time when `features`, `perceptual` and `feature_maps` were kinds of their own.

They load unchanged and mean the same: golden/earlier/extractors.safetensors holds what the code of that time gave.
"""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import ganzoo
from ganzoo import recipe
from ganzoo.errors import PluginError, RecipeError, UnknownComponent
from ganzoo.evaluation import evaluate
from ganzoo.evaluation.score import Scorer, real_set
from ganzoo.extractors.conv_random import ConvRandom
from ganzoo.extractors.vgg import VGG16
from ganzoo.foreign import vgg
from ganzoo.interfaces import Extractor
from ganzoo.model import checkpoint
from ganzoo.model.restore import build_experiment, recipe_of
from ganzoo.recipe.node import component_from
from ganzoo.registry.component import Component
from ganzoo.registry.lookup import Registry, registry
from ganzoo_metrics.inception import Inception
from ganzoo_projection import search
from ganzoo_projection.search import Projection
from ganzoo_style_transfer.interfaces import StyleTask

EARLIER = Path(__file__).parent / "golden" / "earlier"
CPU = torch.device("cpu")
WHOLE = {"use": "vgg16", "layer_point": "post", "imagenet_norm": True, "lambdas": [1.0, 2.0, 3.0, 0.5], "side": 40}
PRE = {"use": "vgg16", "layer_point": "pre", "imagenet_norm": False, "lambdas": [1.0, 1.0, 1.0, 1.0], "side": 24}
PERCEPTUALS: dict[str, tuple[str, Any]] = {  # expected distance: method, and its option `perceptual`
    "vgg16": ("image2stylegan", WHOLE),
    "vgg16-pre": ("image2stylegan", PRE),
    "vgg16-rgba": ("stylegan2", {"use": "vgg16", "side": 32}),
    "default-i2s": ("image2stylegan", {"side": 40, "layer_point": "pre"}),
    "default-sg2": ("stylegan2", {"side": 16}),
    "lpips": ("image2stylegan", {"use": "lpips-vgg", "side": 18}),
    "lpips-rgba": ("stylegan2", {"use": "lpips-vgg", "side": 256}),
    "conv-random": ("stylegan2", "conv-random"),
    "conv-random-rgba": ("image2stylegan", {"use": "conv-random"}),
    "pixel-rgba": ("stylegan2", {"use": "pixel"}),
}


@cache
def expected() -> dict[str, Tensor]:
    return load_file(EARLIER / "extractors.safetensors")


@pytest.fixture
def thin(tmp_path, monkeypatch) -> Path:
    """A file of a VGG-16 of narrow layers, and of LPIPS's weights for it."""
    monkeypatch.setattr(vgg, "WIDTHS", (4, 6, 8, 10, 12))
    path = tmp_path / "thin.safetensors"
    save_file({n.removeprefix("vgg16/"): t for n, t in expected().items() if n.startswith("vgg16/")}, path)
    return path


def with_weights(perceptual: Any, weights: Path) -> Any:
    seen_by_vgg = isinstance(perceptual, dict) and "vgg" in perceptual.get("use", "vgg")
    return {**perceptual, "weights": str(weights)} if seen_by_vgg else perceptual


def distances(perceptual: Any, name: str) -> list[float]:
    channels = 4 if name.endswith("rgba") else 3
    net = perceptual(channels).double()
    a, b = (expected()[f"images/{which}"][:, :channels].double() for which in "ab")
    return net.distance(a, net(b)).tolist()


class TestPerceptuals:
    @pytest.mark.parametrize("name", PERCEPTUALS)
    def test_projectors_compare_as_before(self, name, thin) -> None:
        method, perceptual = PERCEPTUALS[name]
        make = search.factory(method, {"perceptual": with_weights(perceptual, thin)})
        found = distances(lambda channels: make(channels).perceptual, name)
        assert found == pytest.approx(expected()[f"distance/{name}"].tolist(), rel=1e-9)

    @pytest.mark.parametrize("name", [n for n, (method, _) in PERCEPTUALS.items() if "default" not in n])
    def test_encoders_are_trained_as_before(self, name, thin) -> None:
        raw = {"use": "encoder", "perceptual": with_weights(PERCEPTUALS[name][1], thin)}
        node = component_from("experiment", raw, registry())
        found = distances(node.bind()().perceptual, name)
        assert found == pytest.approx(expected()[f"distance/{name}"].tolist(), rel=1e-9)

    @pytest.mark.parametrize("name", PERCEPTUALS)
    def test_what_is_written_today_is_read_as_it_is(self, name) -> None:
        method, perceptual = PERCEPTUALS[name]
        today = search.node(method, {"perceptual": perceptual}).dump()
        assert search.node(method, {n: v for n, v in today.items() if n != "use"}).dump() == today

    def test_unknown_options_are_still_refused(self) -> None:
        with pytest.raises(RecipeError, match="vgg16 has no option 'layer_point'"):
            search.node("image2stylegan", {"perceptual": {"use": "vgg16", "layer_point": "both"}})
        with pytest.raises(RecipeError, match="conv-random has no option 'size'"):
            search.node("image2stylegan", {"perceptual": {"use": "conv-random", "size": 3}})


class TestMetrics:
    def measured(self, *names: str, **options: Any) -> dict[str, float]:
        model = ganzoo.load(EARLIER / "snapshot-000000.064.safetensors", "cpu")
        records = Scorer(model, real_set(model), names, None, options).measure(seed=0)
        return {name: value for record in records for name, value in record["results"].items()}

    @pytest.fixture(autouse=True)
    def own_cache(self, tmp_path, monkeypatch) -> None:
        monkeypatch.setenv("GZ_CACHE", str(tmp_path / "cache"))

    def test_through_conv_random(self) -> None:
        """A step of 1e-4 leaves path lengths three digits in float32, and all of them in float64."""
        single, double = self.measured("kid", "ppl"), self.measured("ppl", precision="fp64")
        for name in ("mmd3/conv-random", "mmd3_std/conv-random"):
            assert single[name] == pytest.approx(expected()[f"metric/{name}"].item(), rel=1e-5)
        name = "path_length/conv-random"
        assert single[name] == pytest.approx(expected()[f"metric/{name}"].item(), rel=1e-3)
        assert double[name] == pytest.approx(expected()[f"metric/{name}/fp64"].item(), rel=1e-7)

    def test_lpips_was_an_option_of_vgg16(self, thin) -> None:
        extractor = {"use": "vgg16", "output": "lpips", "resize": "bilinear", "weights": str(thin)}
        raw = {"use": "ppl", "num": 8, "precision": "fp64", "extractor": extractor}
        model = ganzoo.load(EARLIER / "snapshot-000000.064.safetensors", "cpu")
        metric = component_from("metric", raw, registry()).bind()(model.G.shape, 0)
        (record,) = evaluate.measure_generator(model.G, model.stage, [metric], real_set(model), 0, CPU)
        assert record["results"]["ppl"] == pytest.approx(expected()["metric/ppl/thin"].item(), rel=1e-7)
        assert record["extractor"]["output"] == "lpips"

    @pytest.mark.parametrize("name", ["recipe.yaml", "recipe.resolved.yaml"])
    def test_the_recipe(self, name) -> None:
        node = recipe.load(EARLIER / name)
        assert next(metric.extractor for metric in build_experiment(node).metrics(0)) is None
        assert [child["extractor"].cls for child in node.children["metrics"][1:]] == [ConvRandom, ConvRandom]


class TestCheckpoints:
    @pytest.mark.parametrize("name", ["encoder", "adain"])
    def test_the_experiment_builds(self, name) -> None:
        path = EARLIER / f"{name}.safetensors"
        node = recipe_of(path, checkpoint.header(path))
        slot = {"encoder": "perceptual", "adain": "features"}[name]
        assert node[slot].cls is ConvRandom
        assert node.bind()().title == {"encoder": "fixture encoder", "adain": "fixture AdaIN"}[name]

    def test_the_encoder_and_projectors(self) -> None:
        """Three steps by the distance that the encoder was trained with, and by that of each method."""
        model = ganzoo.load(EARLIER / "snapshot-000000.064.safetensors", "cpu")
        view, target = search.freeze(model, 1), model.images([3, 4], label=1)
        weights = {"weights": str(EARLIER / "encoder.safetensors")}
        for name, options in (
            ("encoder", weights),
            ("image2stylegan", {"perceptual": "conv-random"}),
            ("stylegan2", {"perceptual": "conv-random"}),
        ):
            run = Projection(view, search.factory(name, {**options, "steps": 3})(3), target)
            if name == "encoder":
                torch.testing.assert_close(run.codes(), expected()["encoder/codes"], rtol=1e-5, atol=1e-6)
            while not run.done:
                run.advance()
            last = expected()["encoder/refined" if name == "encoder" else f"{name}/codes"]
            torch.testing.assert_close(run.losses, expected()[f"{name}/losses"], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(run.codes(), last, rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("name", ["adain", "gatys"])
    def test_style_transfer(self, name) -> None:
        options: dict[str, dict[str, Any]] = {
            "adain": {"weights": str(EARLIER / "adain.safetensors")},
            "gatys": {"features": "conv-random", "steps": 3},
        }
        task = StyleTask(expected()["adain/content"], ((expected()["adain/style"], 1.0),))
        run = component_from("transfer", {"use": name, **options[name]}, registry()).bind()().begin(task, CPU)
        while run.done < run.total:
            run.advance()
        torch.testing.assert_close(run.picture, expected()[f"{name}/picture"], rtol=1e-4, atol=1e-4)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "cls"),
        [
            ("lpips-vgg", VGG16),
            ("projection:lpips-vgg", VGG16),
            ("metrics:vgg16", VGG16),
            ("metrics:inception", Inception),
            ("style_transfer:conv-random", ConvRandom),
            ("extractors:conv-random", ConvRandom),
        ],
    )
    def test_former_names(self, name, cls) -> None:
        """A component that moved between ganzoo's own plugins is still found by the plugin it stood in."""
        assert registry().get("extractor", name) is cls
        assert name not in registry().names("extractor") or name == cls.name

    def test_no_name_is_invented(self) -> None:
        for name, error in (("metrics:vgg17", UnknownComponent), ("nobody:vgg16", PluginError)):
            with pytest.raises(error):
                registry().get("extractor", name)
        with pytest.raises(UnknownComponent):
            registry().get("metric", "lpips-vgg")

    def test_todays_name_comes_before_a_former_one(self) -> None:
        class Other(Extractor, name="lpips-vgg"):
            """Another, under a name that was given up."""

            outputs = ("x",)

        known = Registry()
        known.add(VGG16, "extractors")
        assert known.get("extractor", "lpips-vgg") is VGG16
        known.add(Other, "others")
        assert known.get("extractor", "lpips-vgg") is Other
        assert known.get("extractor", "vgg16") is VGG16

    def test_options_of_an_earlier_form_are_brought_to_todays(self) -> None:
        class Sum(Component, kind="trial", name="sum"):
            def __init__(self, *, terms: tuple[int, ...] = ()) -> None:
                self.terms = terms

            @classmethod
            def upgraded(cls, options: dict[str, Any]) -> dict[str, Any]:
                return {"terms": [options["a"], options["b"]]} if "a" in options else options

        known = Registry()
        known.add(Sum, "trials")
        for raw in ({"use": "sum", "a": 1, "b": 2}, {"use": "sum", "terms": [1, 2]}):
            assert component_from("trial", raw, known).bind()().terms == (1, 2)
