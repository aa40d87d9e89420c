"""What `doctor` states about INT8 is what an ONNX Runtime session does, on any processor."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import pytest
from boards import board
from colour_bundle import colour_model

from tmkd_deploy.agent.telemetry import cpu
from tmkd_deploy.agent.telemetry.machine import machine
from tmkd_deploy.cli import checkup
from tmkd_deploy.runtime import onnxruntime_session
from tmkd_deploy.targets import catalog, machine_probe
from tmkd_deploy.targets.device_checks import findings
from tmkd_deploy.targets.int8_check import SUBJECT, int8_findings

# From /proc/cpuinfo of such machines, with fewer flags.
X86_VNNI = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 85
model name\t: Intel(R) Xeon(R) Processor @ 2.80GHz
flags\t\t: fpu vme sse sse2 ssse3 fma avx f16c avx2 avx512f avx512dq avx512bw avx512vl avx512_vnni
"""
X86_PLAIN = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 79
model name\t: Intel(R) Xeon(R) CPU E5-2686 v4 @ 2.30GHz
flags\t\t: fpu vme sse sse2 ssse3 fma avx f16c avx2 bmi1 bmi2 rdseed adx
"""
# Cortex-A76 and Cortex-A72: a Raspberry Pi 5 and a Raspberry Pi 4
ARM_DOT_PRODUCT = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b

Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""
ARM_PLAIN = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU part\t: 0xd08

Model\t\t: Raspberry Pi 4 Model B Rev 1.4
"""

PROCESSORS = {
    "x86 with VNNI": ("x86_64", X86_VNNI),
    "x86 without VNNI": ("x86_64", X86_PLAIN),
    "x86 unknown": ("x86_64", None),
    "Arm with asimddp": ("aarch64", ARM_DOT_PRODUCT),
    "Arm without asimddp": ("aarch64", ARM_PLAIN),
}
STATED = {
    "x86 with VNNI": ("ok", "VNNI; ONNX Runtime uses its fast INT8 mode"),
    "x86 without VNNI": ("warning", "no VNNI; ONNX Runtime uses its precise INT8 mode"),
    "x86 unknown": ("warning", "VNNI unknown; ONNX Runtime uses its precise INT8 mode"),
    "Arm with asimddp": ("ok", "Arm dot-product instructions; ONNX Runtime uses its fast"),
    "Arm without asimddp": (
        "warning",
        "no Arm dot-product instructions; ONNX Runtime uses its fast",
    ),
}


def pretend(
    architecture: str, cpuinfo: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Give this machine another processor."""
    if cpuinfo is not None:
        (folder / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(onnxruntime_session, "CPUINFO", folder / "cpuinfo")
    monkeypatch.setattr(platform, "machine", lambda: architecture)


@pytest.fixture(params=PROCESSORS)
def processor(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """This machine, as if it had the named processor."""
    pretend(*PROCESSORS[request.param], tmp_path, monkeypatch)
    return str(request.param)


def session_is_precise() -> bool:
    """Whether a session, opened as applications open it, uses the precise mode."""
    session = onnxruntime_session.create_session(colour_model(), threads=1)
    try:
        entry = session.get_session_options().get_session_config_entry("session.x64quantprecision")
    except RuntimeError:  # the entry was never set
        return False
    return bool(entry == "1")


def int8_of(found: Any) -> tuple[str, str]:
    [finding] = [each for each in found if each.subject == SUBJECT]
    return finding.state, finding.found


def test_doctor_states_what_a_session_does(processor: str) -> None:
    mode = "precise" if session_is_precise() else "fast"
    state, stated = STATED[processor]
    for told in (
        int8_of(checkup.examine(None, Path())),
        int8_of(findings(board("raspberry", **cpu.arithmetic_support()), catalog.get("cpu"))),
    ):
        assert told[0] == state
        assert told[1].startswith(stated)
        assert f"its {mode} INT8 mode" in told[1]


def test_every_description_of_a_machine_agrees(processor: str) -> None:
    support = cpu.arithmetic_support()
    assert support["precise_int8"] is session_is_precise()
    probed, recorded = machine_probe.probe(), machine()
    for name, value in support.items():
        assert probed[name] is value
        if value is not None:
            assert recorded[name] is value


def test_vnni_is_reported_for_x86_only_and_dot_products_for_arm_only(processor: str) -> None:
    known = {
        "x86 with VNNI": (True, None),
        "x86 without VNNI": (False, None),
        "x86 unknown": (None, None),
        "Arm with asimddp": (None, True),
        "Arm without asimddp": (None, False),
    }
    support = cpu.arithmetic_support()
    assert (support["vnni"], support["arm_dot_product"]) == known[processor]


def test_the_flags_of_an_emulators_host_count_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend("aarch64", X86_VNNI, tmp_path, monkeypatch)
    support = cpu.arithmetic_support()
    assert support == {
        "vnni": None,
        "arm_dot_product": None,
        "precise_int8": False,
        "bf16": None,
    }
    assert list(int8_findings(support)) == []
    assert session_is_precise() is False


@pytest.mark.parametrize(
    ("cpuinfo", "answer"),
    [
        ("flags\t\t: fpu avx512_vnni avx512_bf16\n", True),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", True),
        ("flags\t\t: fpu avx512_vnni\n", False),
        ("Features\t: fp asimd bf16\n", None),
    ],
)
def test_bf16_is_read_from_the_flags_of_x86(
    cpuinfo: str, answer: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend("x86_64", cpuinfo, tmp_path, monkeypatch)
    assert cpu.arithmetic_support()["bf16"] is answer


def test_nothing_is_stated_where_a_gpu_runs_the_engine() -> None:
    found = findings(board("orin-nx"), catalog.get("jetson-orin-nx"))
    assert SUBJECT not in {each.subject for each in found}
