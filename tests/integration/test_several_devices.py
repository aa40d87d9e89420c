"""Two devices behind real SSH servers, measured concurrently by one command."""

from __future__ import annotations

from pathlib import Path

import pytest
from project import Project
from sshd import needs_sshd, ssh_device

from tmkd_deploy.devices.ssh_route import CONFIGURATION

FAST = ("--set", "measure.min_runs=20", "--set", "measure.min_seconds=0.1")


@needs_sshd
def test_devices_are_measured_concurrently_with_separate_progress(
    project: Project, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    with ssh_device(tmp_path / "one") as one, ssh_device(tmp_path / "two") as two:
        both = tmp_path / "ssh_config"
        parts = [
            f"Host {name}\n  HostName 127.0.0.1\n  Port {device.port}\n"
            + "".join(f"  {line}\n" for line in device.config.read_text().splitlines())
            for name, device in (("one", one), ("two", two))
        ]
        both.write_text("".join(parts), encoding="utf-8")
        text = project.recipe.read_text(encoding="utf-8")
        targets = (
            "targets:\n  - {target: cpu, device: ssh://one}\n"
            "  - {target: cpu-x86, device: ssh://two, precisions: [int8]}\n"
        )
        project.recipe.write_text(text[: text.index("targets:")] + targets, encoding="utf-8")
        done = project.run("validate", *FAST, environment={CONFIGURATION: str(both)})
    assert done.code == 0, done.told
    for target, name in (("cpu", "one"), ("cpu-x86", "two")):
        record = project.manifest(f"measure/{target}")["record"]
        assert {row["engine"] for row in record["latency"]["rows"]} >= {"teacher", "int8", "fp32"}
        assert f"ssh://{name}: After" in done.err


def test_one_address_for_several_targets_is_refused(project: Project) -> None:
    done = project.run("validate", "--device", "local", "--target", "cpu", "--target", "cpu-x86")
    assert done.code == 2, done.told
    assert "--device is for one target, but 2 are requested." in done.err
