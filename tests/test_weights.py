"""Where the weights of extractors come from: files, hashes, and fetching."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from ganzoo.errors import CheckpointError, RecipeError
from ganzoo.extractors.conv_random import ConvRandom
from ganzoo.extractors.vgg import VGG16
from ganzoo.foreign.published import Published
from ganzoo_metrics import inception
from ganzoo_metrics.inception import Inception
from weight_files import empty as empty
from weight_files import torch_file

# --- where weights come from -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [2, 4])
def test_other_channels_are_not_for_trained_networks(channels: int):
    for make in (Inception, VGG16):
        with pytest.raises(RecipeError, match=f"these have {channels} channels.*Choose 'conv-random'"):
            make(channels)


def test_the_published_file_is_known_by_its_hash(empty: Path):
    """Another file under its name is refused; under another name it is one's own."""
    path = torch_file(empty / inception.WEIGHTS.file, {"fc.bias": torch.zeros(3)})
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(CheckpointError, match=f"begins with {found[:8]}, not with 6726825d. Fetch it anew"):
        Inception(3)
    own = torch_file(empty / "own.pth", {"fc.bias": torch.zeros(3)})
    with pytest.raises(CheckpointError, match=r"has fc.bias of shape \[3\] instead of \[1008\]"):
        Inception(3, weights=own)
    with pytest.raises(CheckpointError, match="not with 00112233"):
        Inception(3, weights=own, sha256="00112233")


def test_a_pickle_is_never_executed(empty: Path):
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (empty / "executed",))

    empty.mkdir(parents=True)
    torch.save({"fc.bias": Evil()}, empty / "evil.pth")
    with pytest.raises(CheckpointError):
        Inception(3, weights=empty / "evil.pth")
    assert not (empty / "executed").exists()


# --- fetching --------------------------------------------------------------------------------------------------------


class Server:
    """An address on this machine that gives some bytes."""

    def __init__(self, content: bytes, cut: int = 0) -> None:
        import http.server
        import threading

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(content) + cut))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}/weights.pth"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def published(url: str, sha256: str):
    return Published("mine.pth", "mine.safetensors", sha256, "Put it to {path}.", url)


def test_fetching_brings_the_right_bytes_or_says_what_belongs_where(tmp_path, monkeypatch):
    import hashlib

    monkeypatch.setenv("GZ_CACHE", str(tmp_path))
    content, seen = bytes(range(256)) * 9000, []
    server, right = Server(content), hashlib.sha256(content).hexdigest()

    def progress(what, done, total):
        seen.append((done, total))

    with pytest.raises(CheckpointError, match=r"nothing was fetched\. Put it to .*weights/mine\.pth"):
        published(server.url, right).fetch(True, progress)
    assert not seen
    with pytest.raises(CheckpointError, match=r"not 00000000\. Put it to"):
        published(server.url, "00000000").fetch(False, progress)
    with pytest.raises(CheckpointError, match=r"could not be fetched"):
        published(Server(content, cut=5).url, right).fetch(False, progress)
    with pytest.raises(CheckpointError, match=r"could not be fetched to .* Put it to"):
        published("http://127.0.0.1:9/none", right).fetch(False, progress)
    assert list((tmp_path / "weights").iterdir()) == []
    path = published(server.url, right[:8]).fetch(False, progress)
    assert path.read_bytes() == content
    assert seen[-1] == (len(content), len(content))
    server.server.shutdown()
    assert published(server.url, right).fetch(False, progress) == path  # it is there: nothing is asked
    with pytest.raises(CheckpointError, match="needs no file of weights"):
        ConvRandom.fetch(False, progress)


def test_fetch_on_the_command_line_says_what_belongs_where(tmp_path, monkeypatch, capsys):
    from ganzoo_cli import main

    monkeypatch.setenv("GZ_CACHE", str(tmp_path))
    for words in (["inception", "--offline"], ["vgg16", "--offline"], ["conv-random"]):
        assert main(["metrics", "fetch", *words]) == 1
        err = capsys.readouterr().err
        assert "Traceback" not in err
        assert str(tmp_path / "weights") in err or "needs no file" in err
