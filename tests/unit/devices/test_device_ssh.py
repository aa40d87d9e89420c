"""What the exit of ssh means. The messages were recorded from OpenSSH 9.2."""

from __future__ import annotations

import pytest

from tmkd_deploy.devices.address import SshAddress
from tmkd_deploy.devices.routes import DeviceUnreachable
from tmkd_deploy.devices.ssh_route import SshRoute
from tmkd_deploy.errors import EnvironmentProblem

CHATTER = "2026-11-23 07:43:01 [W:onnxruntime] Permission denied (publickey) is only a name here\n"
CHANGED = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Offending ED25519 key in /home/ada/.ssh/known_hosts:3
  remove with:
  ssh-keygen -f "/home/ada/.ssh/known_hosts" -R "orin"
Host key for orin has changed and you have requested strict checking.
Host key verification failed.
"""
UNKNOWN = """\
No ED25519 host key is known for orin and you have requested strict checking.
Host key verification failed.
"""


def explained(code: int, stderr: str, *, greeted: bool) -> EnvironmentProblem:
    problem = SshRoute(SshAddress("orin", "ada")).explain(code, stderr, greeted=greeted)
    assert str(problem).startswith("ssh://ada@orin")
    assert problem.advice.endswith((".", ")."))
    return problem


@pytest.mark.parametrize(
    "stderr",
    [
        "Connection to 127.0.0.1 closed by remote host.\n",
        "client_loop: send disconnect: Broken pipe\n",
        "Timeout, server orin not responding.\n",
        "Read from remote host orin: Connection reset by peer\n",
        "Connection reset by 192.0.2.7 port 22\n",
    ],
)
def test_a_lost_connection_may_be_made_anew(stderr: str) -> None:
    problem = explained(255, CHATTER + stderr.replace("\n", "\r\n"), greeted=True)
    assert isinstance(problem, DeviceUnreachable)
    assert stderr.strip() in problem.problem


@pytest.mark.parametrize(("code", "stderr"), [(255, ""), (255, CHATTER), (137, "Killed\n")])
def test_an_end_without_a_message_from_ssh_is_a_kill(code: int, stderr: str) -> None:
    problem = explained(code, stderr, greeted=True)
    assert not isinstance(problem, DeviceUnreachable)
    assert "memory ran out" in problem.problem


@pytest.mark.parametrize(
    "stderr",
    [
        "ssh: connect to host orin port 22: Connection refused\n",
        "ssh: connect to host orin port 22: No route to host\n",
        "ssh: connect to host orin port 22: Connection timed out\n",
        "ssh: Could not resolve hostname orin: Name or service not known\n",
        "kex_exchange_identification: Connection closed by remote host\n",
        "",
    ],
)
def test_a_device_that_cannot_be_reached(stderr: str) -> None:
    problem = explained(255, stderr, greeted=False)
    assert isinstance(problem, DeviceUnreachable)
    assert (stderr.strip() or "nothing") in problem.problem
    assert "`ssh ada@orin`" in problem.advice


def test_keys_and_users() -> None:
    changed = explained(255, CHANGED, greeted=False)
    assert "attack" in changed.problem
    assert changed.where == "ssh://ada@orin, /home/ada/.ssh/known_hosts:3"
    assert '`ssh-keygen -f "/home/ada/.ssh/known_hosts" -R "orin"`' in changed.advice
    unknown = explained(255, UNKNOWN, greeted=False)
    assert "ED25519" in unknown.problem
    assert "/etc/ssh/ssh_host_ed25519_key.pub" in unknown.advice
    refused = explained(255, "ada@orin: Permission denied (publickey,password).\n", greeted=False)
    assert "refused the login of ada@orin (it accepts: publickey,password)" in refused.problem
    for problem in (changed, unknown, refused):
        assert not isinstance(problem, DeviceUnreachable), "trying again would not help"
