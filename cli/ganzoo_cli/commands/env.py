"""`gz env`: versions, devices and threads, for a bug report."""

from typing import Any

from ganzoo_cli.host.console import known, say_json, table
from ganzoo_cli.host.options import Json


def env(as_json: Json = False) -> None:
    """Print what ganzoo runs on: versions, devices, threads. Add it to a bug report."""
    import torch

    from ganzoo.runs.folder import environment
    from ganzoo.training.device import choose_device, has_bf16

    known()
    device = choose_device()
    facts: dict[str, Any] = {k: v for k, v in environment(device, []).items() if k != "command"}
    facts["devices"] = [
        "cpu",
        *(f"cuda:{i}" for i in range(torch.cuda.device_count())),
        *(["mps"] if torch.backends.mps.is_available() else []),
    ]
    facts["bfloat16"] = has_bf16(device)
    if as_json:
        return say_json(facts)
    return table(["", ""], [(name, _line(value)) for name, value in facts.items()])


def _line(value: Any) -> Any:
    """A fact on one line: 'a, b' of a list, 'a (1), b (2)' of a mapping."""
    if isinstance(value, dict):
        return ", ".join(f"{name} ({version})" for name, version in value.items())
    return ", ".join(value) if isinstance(value, list) else value
