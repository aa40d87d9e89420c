"""How a device is named."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st
from invariants import ViolatedError, command
from mutations import TEXTS

from fuzzed.target import Attempts, Target, tmkd_errors


@st.composite
def _addresses(draw: st.DrawFn) -> str:
    valid = ["local", "ssh://me@orin:22", "ssh://[fe80::1%eth0]:22/", "ssh://a.b-c_d"]
    pieces = [
        "ssh://",
        "@",
        ":",
        "/",
        "-",
        "-oProxyCommand=id",
        " ",
        "\n",
        "[",
        "]",
        "%",
        "0",
        "65536",
    ]
    pieces += ["$(id)", ";id", "\\", "\0", "٢٢", "é", "\x1b[2J", "..", "?", "#", "//"]
    text = draw(st.sampled_from(valid) | st.text(max_size=10) | st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, min(len(text), 30)))
        text = text[:at] + draw(st.sampled_from(pieces)) + text[at + draw(st.integers(0, 2)) :]
    return text


def _try_address(text: str, folder: Path) -> Attempts:
    from tmkd_deploy.devices import address
    from tmkd_deploy.devices.address import SshAddress
    from tmkd_deploy.devices.ssh_route import SshRoute
    from tmkd_deploy.errors import RequestError

    def parse() -> None:
        found = address.parse(text)
        if address.parse(str(found)) != found:
            raise ViolatedError("meaning", f"{text!r} is printed as another address", "address.py")
        if isinstance(found, SshAddress):
            words = SshRoute(found).command()
            options = {"-T", "-o", "-F", "-p", "-l", "--"}
            if any(word.startswith("-") and word not in options for word in words):
                raise ViolatedError("meaning", f"{text!r} becomes an option", "ssh_route.py")

    yield parse

    def refused() -> None:
        try:
            address.parse(text)
        except RequestError:
            command("doctor", f"--device={text}")

    if "\0" not in text:
        yield refused


TARGETS = [
    Target("device addresses", _addresses, lambda: "local", _try_address, tmkd_errors, share=4),
]
