"""Wrong values from Python: each gets one sentence, whatever function or component it is given to."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import ganzoo
from ganzoo import recipe
from ganzoo.errors import ArgumentError, OptionError, RecipeError, UsageError, ZooError
from ganzoo.gan.discriminator import ComposedDiscriminator
from ganzoo.interfaces import Regularizer, Shape
from ganzoo.model import latent_files
from ganzoo.registry.lookup import registry
from ganzoo.registry.ramp import Ramp
from ganzoo.runs.api import TrainingRun
from ganzoo_augment.diffaugment import DiffAugment
from ganzoo_data.folder import Folder
from ganzoo_editing import style_codes
from ganzoo_export import export
from ganzoo_objectives.losses import Logistic
from ganzoo_objectives.penalties import R1
from snapshots import untrained

SHAPE = Shape(((8, 8), (16, 16)), 3)
TINY = "stylegan2-tiny"


def component(kind, name):
    return registry().get(kind, name)


# --- options of a component that is built directly --------------------------------------------------------------------

WRONG_OPTIONS = {
    "below its range": (
        lambda: R1(gamma=-1),
        "regularizer 'r1': gamma: input should be greater than or equal to 0, got",
    ),
    "unknown": (lambda: Logistic(foo=1), "loss 'logistic': foo: logistic has no option 'foo'. It has none."),
    "misspelt": (lambda: R1(gama=1.0), "r1 has no option 'gama'. Did you mean 'gamma'? Options: gamma, every."),
    "a tensor": (lambda: R1(gamma=torch.ones(2)), "gamma: input should be a valid"),
    "not finite": (lambda: R1(gamma=float("nan")), "gamma: input should be a finite number"),
    "a choice": (lambda: DiffAugment(policy=("colour",)), "augment 'diffaugment': policy: input should be 'color'"),
    "of a network": (
        lambda: ComposedDiscriminator(
            SHAPE, 0, trunk=component("trunk", "skip"), head=component("head", "dense"), channel_max=0
        ),
        "discriminator 'composed': channel_max: input should be greater than",
    ),
    "left out": (
        lambda: ComposedDiscriminator(SHAPE, 0, channel_max=8),
        "discriminator 'composed': trunk: composed needs the option 'trunk'.",
    ),
    "a name in a slot": (
        lambda: ComposedDiscriminator(SHAPE, 0, trunk="skip", head=component("head", "dense")),
        "discriminator 'composed': trunk: a slot takes what builds a trunk, a class or a partial, got 'skip': build it "
        "with recipe.component('discriminator', 'composed', ...), which takes names.",
    ),
    "in a nested slot": (
        lambda: component("layer", "modconv")(
            8, 4, 6, (16, 16), True, noise=partial(component("noise", "pixel_noise"), per="image")
        ),
        "noise 'pixel_noise': per: input should be 'channel' or 'layer', got 'image'",
    ),
}


@pytest.mark.parametrize("case", WRONG_OPTIONS)
def test_wrong_options(case):
    build, words = WRONG_OPTIONS[case]
    with pytest.raises(OptionError) as error:
        build()
    assert words in str(error.value)
    assert isinstance(error.value, RecipeError) and isinstance(error.value, TypeError)


def test_values_that_a_recipe_could_give_are_taken(tmp_path):
    """Lists as tuples, text as paths, whole numbers as any, ramps; and what the constructor gets is what was given."""
    assert R1(gamma=2, every=16).gamma == 2
    assert DiffAugment(policy=["color"]).policy == ["color"]
    assert R1(gamma=0).gamma == 0
    (tmp_path / "a.npy").write_bytes(b"")
    assert str(Folder((8, 8), 3, 0, path=str(tmp_path)).path) == str(tmp_path)
    ada = component("augment", "ada")
    ramp = Ramp.model_validate({"from": 0.0, "to": 0.5, "kimg": 10.0})
    assert ada(p=ramp, target=None) is not None


def test_a_component_of_a_users_own_is_checked_by_its_signature():
    class Mine(Regularizer):
        """Nothing."""

        on = "d"

        def __init__(self, *, weight: float = 1.0, anything=None) -> None:
            super().__init__()
            self.weight, self.anything = weight, anything

        def penalty(self, batch):
            return batch.z.sum(dim=1)

    assert Mine(weight=2.0, anything=object()).weight == 2.0
    with pytest.raises(OptionError, match="regularizer 'Mine': weight: input should be a valid number, got 'x'"):
        Mine(weight="x")


# --- tensors ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("refused"), TINY)


@pytest.fixture(scope="module")
def model(snapshot):
    return ganzoo.load(snapshot, "cpu")


@pytest.fixture(scope="module")
def gan():
    with torch.device("meta"):
        return recipe.load(TINY).bind()()


X = torch.empty(4, 3, 32, 32, device="meta")
PYRAMID = "takes a tuple of images [N, C, H, W], coarse to fine, and got a"
IMAGES = "takes a tensor, uint8 images [N, C, H, W] or features [N, D], and got a tuple of 1"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda gan: gan.D(X), f"the discriminator 'composed' {PYRAMID} tensor of shape [4, 3, 32, 32]: put it into a"),
        (lambda gan: gan.D((X[0],)), f"{PYRAMID} tuple that holds a tensor of shape [3, 32, 32]"),
        (lambda gan: gan.D(()), f"{PYRAMID} tuple of 0"),
        (lambda gan: gan.D.features(X), PYRAMID),
        (lambda gan: gan.D.judge_each([(X, None), ((X,), None)]), PYRAMID),
        (
            lambda gan: gan.G(X),
            "the generator 'composed' takes latents [N, 64], and got a tensor of shape [4, 3, 32, 32]",
        ),
        (lambda gan: gan.G((X,)), "takes latents [N, 64], and got a tuple of 1"),
        (lambda gan: component("metric", "swd")(SHAPE, 0).update((X,), "fake"), f"the metric 'swd' {IMAGES}"),
        (lambda gan: component("metric", "msssim")(SHAPE, 0).update((X,), "fake"), IMAGES),
        (lambda gan: component("metric", "fid")(SHAPE, 0).update((X,), "real"), IMAGES),
        (lambda gan: component("metric", "kid")(SHAPE, 0).update((X,), "real"), IMAGES),
    ],
)
def test_a_tensor_in_place_of_a_pyramid_and_the_other_way_round(gan, call, words):
    with pytest.raises(UsageError) as error:
        call(gan)
    assert words in str(error.value)


# --- functions for users ----------------------------------------------------------------------------------------------

TRAIN = partial(ganzoo.train, TINY, "shapes", device="cpu")
CALLS = {
    "load None": (lambda m: ganzoo.load(None), "load() takes path as text or a path, got None"),
    "load nothing": (lambda m: ganzoo.load("x"), "no checkpoint file x"),
    "images": (lambda m: m.images(5), "images() takes seeds as a sequence of whole numbers, got 5"),
    "images of text": (lambda m: m.images("12"), "images() takes seeds as a sequence of whole numbers, got '12'"),
    "sample": (lambda m: m.sample([1.5]), "sample() takes seeds as a sequence of whole numbers, got [1.5]"),
    "psi": (lambda m: m.styles([1], psi="a"), "styles() takes psi as a number, got 'a'"),
    "label": (lambda m: m.images([1], label="cat"), "takes label as a sequence of numbers or a whole number or None"),
    "map": (lambda m: m.map(torch.zeros(2, 3)), "takes latents [N, 8], and got a tensor of shape [2, 3]"),
    "truncate": (
        lambda m: m.truncate(torch.zeros(2, 3), 0.5),
        "takes style codes [N, 6, 8], and got a tensor of shape",
    ),
    "render": (
        lambda m: m.render(torch.zeros(2, 6, 9)),
        "takes style codes [N, 6, 8], and got a tensor of shape [2, 6",
    ),
    "render a list": (lambda m: m.render([1]), "render() takes ws as a Tensor, got [1]"),
    "mix": (lambda m: m.mix(0, 1, ["a"]), "mix() takes layers as a sequence of whole numbers"),
    "pixels": (lambda m: m.pixels([1]), "pixels() takes images as a Tensor"),
    "train": (lambda m: ganzoo.train(None), "train() takes recipe as text or a path or a mapping, got None"),
    "train kimg": (lambda m: TRAIN(kimg="x"), "train() takes kimg as a number or None, got 'x'"),
    "train overrides": (
        lambda m: TRAIN(overrides="a=1"),
        "train() takes overrides as a mapping or a sequence of texts",
    ),
    "train outdir": (lambda m: TRAIN(outdir=5), "train() takes outdir as text or a path, got 5"),
    "train resume": (lambda m: TRAIN(resume=5), "train() takes resume as text or a path or None, got 5"),
    "train init_from": (lambda m: TRAIN(init_from="x", outdir="/nonexistent"), "x"),
    "train watchdog": (lambda m: TRAIN(watchdog="x"), "watchdog 'x': choose warn, stop, off."),
    "measure": (lambda m: ganzoo.measure(5), "measure() takes model as a Model or text or a path, got 5"),
    "measure none": (lambda m: ganzoo.measure(m, []), "measure() is given no metric"),
    "measure 5": (lambda m: ganzoo.measure(m, 5), "measure() takes metrics as text or a sequence of texts, got 5"),
    "measure num": (lambda m: ganzoo.measure(m, num="x"), "measure() takes num as a whole number or None, got 'x'"),
    "measure data": (lambda m: ganzoo.measure(m, data="nowhere/"), "nowhere does not exist"),
    "recipe": (lambda m: recipe.load(5), "load() takes reference as text or a path or a mapping, got 5"),
    "recipe overrides": (
        lambda m: recipe.load(TINY, "a=1"),
        "load() takes overrides as a sequence of texts, got 'a=1'",
    ),
    "recipe file": (lambda m: recipe.load_yaml("gone.yaml"), "gone.yaml cannot be read: No such file"),
    "component": (lambda m: recipe.component(5, "r1"), "component() takes kind as text, got 5"),
    "kind": (
        lambda m: recipe.component("regularizr", "r1"),
        "there is no kind 'regularizr'. Did you mean 'regularizer'?",
    ),
    "run": (lambda m: TrainingRun("gone"), "gone is no run directory"),
    "run 5": (lambda m: TrainingRun(5), "TrainingRun() takes folder as a path, got 5"),
    "rebuild": (lambda m: export.rebuild("x"), "no checkpoint file x: name a snapshot"),
    "rebuild net": (lambda m: export.rebuild("x", "E"), "net 'E': choose G_ema, G, D."),
    "state_dict": (lambda m: export.state_dict("x", "y"), "no checkpoint file x: name a snapshot"),
    "unfinished": (lambda m: export.unfinished(3), "unfinished() takes path as a path, got 3"),
    "onnx": (lambda m: export.onnx("x", "y"), "onnx() takes model as a Model, got 'x'"),
    "latents": (lambda m: latent_files.read("x", m), "x: latents are read from .npz"),
    "latents save": (lambda m: latent_files.save(3, torch.zeros(1), {}), "save() takes stem as a path, got 3"),
    "crossover": (lambda m: style_codes.crossover(1, 2, 3), "crossover() takes content as a Tensor, got 1"),
}


@pytest.mark.parametrize("case", CALLS)
def test_wrong_arguments(case, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, words = CALLS[case]
    with pytest.raises(ZooError) as error:
        call(model)
    sentence = str(error.value)
    assert words in sentence
    assert len(sentence.splitlines()) == 1
    assert isinstance(error.value, ArgumentError) == ("() takes" in sentence)
    assert not list(tmp_path.iterdir())


def test_what_stands_for_the_right_type(model, snapshot, tmp_path):
    """Ranges, arrays, tensors and numpy's integers for seeds; text for paths; a torch.device for its name."""
    wanted = model.images([1, 2])
    for seeds in (range(1, 3), (1, 2), np.array([1, 2]), torch.tensor([1, 2]), [np.int64(1), 2]):
        assert torch.equal(model.images(seeds), wanted)
    assert torch.equal(ganzoo.load(str(snapshot), torch.device("cpu")).images([1, 2]), wanted)
    assert export.state_dict(str(snapshot), str(tmp_path / "w.safetensors")) > 0
    assert TrainingRun(str(tmp_path)).folder == Path(tmp_path)
