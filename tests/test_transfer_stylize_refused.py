"""`gz stylize`: one sentence for whatever is wrong."""

import numpy as np
import pytest
from PIL import Image

from ganzoo.extractors.conv_random import ConvRandom
from ganzoo.model.checkpoint import Header, write
from ganzoo_style_transfer import pictures as stylize_input
from ganzoo_style_transfer import session as styling
from ganzoo_style_transfer.adain import Decoder
from stylizing import QUICK, colours
from stylizing import gz as gz
from stylizing import pictures as pictures
from stylizing import refused as refused


class TestRefused:
    @pytest.mark.parametrize(
        ("code", "args", "said"),
        [
            (2, ("--method", "gatis"), "Did you mean 'gatys'?"),
            (2, ("--stat", "gramm"), "Did you mean 'gram'?"),
            (2, ("--features", "vgg"), "no extractor named 'vgg'"),
            (2, ("--alpha", "0.5"), "gatys has no option 'alpha'"),
            (2, ("--method", "adain"), "--weights"),
            (2, ("--method", "adain", "--stat", "bn"), "adain has no option 'statistic'"),
            (1, (), "vgg19-dcbb9e9d.pth is not in"),
            (2, (*QUICK, "--out", "x.jpg"), "ends in .png"),
            (2, (*QUICK, "--out", "content.png"), "one of the pictures it is made from"),
            (2, (*QUICK, "--mix", "1,2"), "which are 1"),
            (2, (*QUICK, "--mix", "a"), "numbers with commas"),
            (2, (*QUICK, "--mix", "0"), "not all 0"),
            (2, (*QUICK, "--film", "content.png"), "content.png"),
            (2, (*QUICK, "--init", "nothing"), "'content' or 'noise'"),
            (2, (*QUICK, "--set", "style_layers=[relu9]"), "has no layer 'relu9'"),
            (2, (*QUICK, "--set", "statistic.power=2"), "gram has no option 'power'"),
            (2, (*QUICK, "--set", "nonsense"), "option=value"),
            (2, (*QUICK, "--device", "abacus"), "no such device"),
        ],
    )
    def test_options(self, refused, monkeypatch, tmp_path, code, args, said) -> None:
        monkeypatch.setenv("GZ_CACHE", str(tmp_path / "cache"))
        assert said in refused(code, "content.png", "style.png", *args)

    def test_files(self, refused, pictures) -> None:
        (pictures / "text.png").write_text("no picture")
        (pictures / "cut.png").write_bytes((pictures / "content.png").read_bytes()[:200])
        (pictures / "empty.png").write_bytes(b"")
        Image.fromarray(np.zeros((8, 8), np.float32)).save(pictures / "float.tif")
        Image.fromarray(np.full((8, 8), 70_000, np.int32)).save(pictures / "deep.tif")
        for name, said in {
            "nothing.png": "is no file",
            ".": "is no file",
            "text.png": "is no PNG, JPEG, WebP, AVIF, BMP, GIF, TIFF, PPM, JPEG 2000, QOI or TGA image: remove it or "
            "replace it.",
            "empty.png": "is empty (0 bytes): remove it or copy it again.",
            "cut.png": "cannot be decoded",
            "float.tif": "holds floating-point values",
            "deep.tif": "holds 32-bit values",
        }.items():
            for pair in ((name, "style.png"), ("content.png", name)):
                message = refused(1, *pair, *QUICK)
                assert name in message
                assert said in message

    @pytest.mark.parametrize("size", [(1, 1), (3, 40), (4, 1)])
    def test_tiny_pictures(self, refused, pictures, size) -> None:
        Image.fromarray(colours(*size)).save(pictures / "tiny.png")
        for pair in (("tiny.png", "style.png"), ("content.png", "tiny.png")):
            said = refused(1, *pair, *QUICK, "--stat", "bn")
            assert "at least 4x4" in said
            assert "tiny.png" in said

    def test_a_map_of_one_position_has_no_deviation(self, refused, pictures) -> None:
        Image.fromarray(colours(4, 4)).save(pictures / "tiny.png")
        assert "too small for this layer" in refused(1, "tiny.png", "style.png", *QUICK, "--stat", "bn")

    def test_huge_pictures(self, refused, monkeypatch) -> None:
        monkeypatch.setattr(stylize_input, "PIXELS", 100)
        assert "40x24 pixels, too many to open" in refused(1, "content.png", "style.png", *QUICK)

    def test_more_memory_than_there_is(self, refused, gz, monkeypatch) -> None:
        monkeypatch.setattr(styling, "total_memory", lambda device: 200_000 / 2**30)
        said = refused(2, "content.png", "style.png", *QUICK)
        assert "choose --size" in said
        size = said.partition("--size ")[2].partition(",")[0]
        assert gz("content.png", "style.png", *QUICK, "--size", size).code == 0

    def test_places_that_cannot_be_written(self, refused, monkeypatch, pictures) -> None:
        monkeypatch.setattr(styling, "read", None)  # nothing is read before
        (pictures / "taken.png").mkdir()
        for option, path, said in [
            ("--out", "/proc/x.png", "--out /proc/x.png: cannot write into /proc"),
            ("--film", "/proc/x.gif", "--film /proc/x.gif: cannot write into /proc"),
            ("--film", "/proc/new", "--film /proc/new: cannot write into /proc"),
            ("--out", "taken.png", "taken.png is a folder"),
        ]:
            assert said in refused(2, "content.png", "style.png", *QUICK, option, path)

    def test_a_film_of_one_step(self, refused, pictures) -> None:
        recipe = {"use": "adain", "features": {"use": "conv-random"}}
        decoder = {f"decoder.{n}": t for n, t in Decoder(ConvRandom.plan("relu3")).state_dict().items()}
        write(pictures / "d.safetensors", decoder, Header("snapshot", recipe, 0))
        args = ("content.png", "style.png", "--method", "adain", "--weights", "d.safetensors")
        assert "in one step" in refused(2, *args, "--film", "way.gif")

    def test_help_names_no_torch(self, gz) -> None:
        assert gz("--help").code == 0
