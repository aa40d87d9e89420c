"""A Python that has imported the package and its libraries, and forks for each command.

What a command does after that is what `python -m tmkd_deploy` does, in a session of its own.
Restarting a killed command then takes a fraction of a second, not ten seconds.

Requests and replies are lines of JSON on standard input and output; see `commands.Warm`.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import sys
import time
from typing import Any

from exporter import remember_operators
from killer import install
from processes import await_end_of_session

PATIENCE = 60.0  # seconds in which processes end whose parent was killed, on a very slow machine


LIBRARIES = ("imagehash", "jinja2", "matplotlib.figure", "matplotlib.backends.backend_svg")
LIBRARIES += ("onnxruntime", "open_clip", "rich.progress", "timm", "tmkd_deploy")


def import_package() -> None:
    """Import what a run imports; one small export loads what the exporter loads on first use."""
    for name in LIBRARIES:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(sys.modules["tmkd_deploy"].__path__, "tmkd_deploy."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # the library of an extra
                importlib.import_module(module.name)
    remember_operators()
    import torch

    class Small(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.float().mean(dim=(1, 2))

    with torch.no_grad():
        torch.onnx.export(
            Small(),
            (torch.zeros(2, 4, 4, 3, dtype=torch.uint8),),
            dynamic_shapes={"images": {0: torch.export.Dim("N", min=1, max=8)}},
            dynamo=True,
            optimize=True,
            verbose=False,
        )


def fork(attempt: dict[str, Any], go: int) -> tuple[int, int]:
    """Start one command; it begins once `go` is readable. Returns its number and its pipe."""
    told, tell = os.pipe()
    number = os.fork()
    if number:
        os.close(tell)
        return number, told
    code = 1
    try:
        os.close(told)
        os.setsid()
        os.chdir(attempt["folder"])
        if attempt["environment"].get("PATH"):  # a whole one
            os.environ.clear()
        os.environ.update(attempt["environment"])
        for stream, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
            file = os.devnull if stream == 0 else f"{attempt['log']}.{stream}"
            opened = os.open(file, flags | os.O_CREAT | os.O_TRUNC if stream else flags, 0o644)
            os.dup2(opened, stream)
            os.close(opened)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.argv = ["tmkd-deploy", *attempt["arguments"]]
        if attempt["setup"]:  # it may replace what the package imports by name
            for name in [each for each in sys.modules if each.startswith("tmkd_deploy")]:
                del sys.modules[name]
            exec(attempt["setup"], {})
        os.read(go, 1)
        install(attempt["kill"], tell)
        runpy.run_module("tmkd_deploy", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def watch(attempt: dict[str, Any], number: int, told: int) -> dict[str, Any]:
    """Wait for a command, and kill it where that is due some time after it said so."""
    with os.fdopen(told) as stream:
        event = stream.readline().strip()
        if event and attempt["kill"]["delay"]:
            time.sleep(attempt["kill"]["delay"])
            os.kill(number, attempt["kill"]["signal"])
        _, status = os.waitpid(number, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "event": event or None,
        "orphans": await_end_of_session(number, PATIENCE),
    }


def main() -> None:
    """Serve until standard input ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    import_package()
    gc.freeze()  # so that a fork's collector leaves shared memory alone
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        attempts = json.loads(line)
        wait, go = os.pipe()
        started = [(attempt, *fork(attempt, wait)) for attempt in attempts]
        os.write(go, b"." * len(started))
        ended = [watch(*each) for each in started]
        os.close(wait)
        os.close(go)
        print(json.dumps(ended), file=replies, flush=True)


if __name__ == "__main__":
    main()
