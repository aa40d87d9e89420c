"""Device addresses, and the ssh command lines made from them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tmkd_deploy.devices.address import LocalAddress, SshAddress, parse
from tmkd_deploy.devices.payload import LOADER
from tmkd_deploy.devices.ssh_route import CONFIGURATION, SshRoute
from tmkd_deploy.errors import ExitCode, RequestError

NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
ADDRESSES = st.builds(
    SshAddress,
    host=NAMES | st.sampled_from(["::1", "fe80::1%eth0", "192.0.2.7"]),
    user=st.none() | NAMES,
    port=st.none() | st.integers(1, 65535),
    python=st.none() | st.from_regex(r"/[A-Za-z0-9_./+-]{0,20}[A-Za-z0-9_+-]", fullmatch=True),
)


@given(address=ADDRESSES)
def test_what_is_written_is_read_back(address: SshAddress) -> None:
    assert parse(str(address)) == address


def test_this_machine() -> None:
    assert parse("local") == LocalAddress()
    assert str(parse("local")) == "local"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("nano@orin", "ssh://nano@orin"),
        ("orin:2222", "ssh://orin:2222"),
        ("ssh:/nano@orin", "ssh://nano@orin"),
        ("ssh:nano@orin", "ssh://nano@orin"),
        ("SSH://nano@orin", "ssh://nano@orin"),
        (" ssh://orin ", "ssh://orin"),
        ("ssh://orin\n", "ssh://orin"),
        ("Local", "local"),
    ],
)
def test_the_form_that_was_meant_is_offered(text: str, meant: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(text)
    assert caught.value.exit_code == ExitCode.REQUEST
    assert repr(text) in caught.value.problem
    assert f'Did you mean "{meant}"?' in caught.value.advice


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh://",
        "ssh://-oProxyCommand=touch%20here",
        "ssh://-oProxyCommand=touch",
        "ssh://-l@host",
        "ssh://nano@-host",
        "ssh://a@b@c",
        "ssh://nano:secret@orin",
        "ssh://orin:port",
        "ssh://orin/home",
        "ssh://orin?x=1",
        "ssh://or in",
        "ssh://$(touch here)",
        "ssh://`touch here`",
        "ssh://orin;reboot",
        "http://orin",
        "ssh://orin?python=",
        "ssh://orin?python=python3",
        "ssh://orin?python=/opt/my python",
        "ssh://orin?python=/bin/sh;reboot",
        "ssh://orin?python=/bin/$(reboot)",
        "ssh://orin?python=/bin/python\n",
        "ssh://orin?python=-c",
    ],
)
def test_an_invalid_address_is_refused(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(text)
    assert 'Write "local"' in caught.value.advice


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_a_port_out_of_range_is_refused(port: str) -> None:
    with pytest.raises(RequestError, match="from 1 to 65535"):
        parse(f"ssh://orin:{port}")


@given(text=st.text(max_size=40))
@example(text="samba$")
def test_no_text_whatever_becomes_an_option(text: str) -> None:
    python = f"ssh://orin?python=/{text}"
    for candidate in (text, python, f"ssh://{text}", f"ssh://-{text}", f"ssh://{text}@host"):
        try:
            address = parse(candidate)
        except RequestError:
            continue
        if isinstance(address, SshAddress):
            assert not address.host.startswith("-")
            assert not (address.user or "").startswith("-")
            assert not set(str(address)) & set(" \t\n'\"`$;&|<>\\")


@given(address=ADDRESSES)
def test_only_the_destination_and_the_python_depend_on_the_address(address: SshAddress) -> None:
    command = SshRoute(address).command()
    divide = command.index("--")
    assert command[0] == "ssh"
    assert command[divide - 1] == (f"{address.user}@" if address.user else "") + address.host
    python = address.python or "python3"
    assert command[divide + 1 :] == [f"{python} -c '{LOADER}' tmkd-deploy-agent"]
    assert "StrictHostKeyChecking=yes" in command and "BatchMode=yes" in command


def test_a_configuration_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    route = SshRoute(SshAddress("orin"))
    monkeypatch.delenv(CONFIGURATION, raising=False)
    assert "-F" not in route.command()
    monkeypatch.setenv(CONFIGURATION, str(tmp_path / "config"))
    command = route.command()
    assert command[command.index("-F") + 1] == str(tmp_path / "config")
