"""TODO docstring."""

from typing import Any

from ganzoo_cli.host.console import known, say_json, table
from ganzoo_cli.host.options import Json


def env(as_json: Json = False) -> None:
    """Say what ganzoo runs on: versions, devices, threads. Good to have in a bug report."""
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
    rows = {
        k: ", ".join(v)
        if isinstance(v, list)
        else ", ".join(f"{a} ({b})" for a, b in v.items())
        if isinstance(v, dict)
        else v
        for k, v in facts.items()
    }
    return table(["", ""], list(rows.items()))
