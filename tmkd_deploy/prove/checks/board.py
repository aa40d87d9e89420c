"""Claims about what a board says of itself: module, releases, GPU, power mode."""

from __future__ import annotations

import re

from tmkd_deploy.prove.checks.devices import require_jetson
from tmkd_deploy.prove.outcome import Evidence, expect, require
from tmkd_deploy.prove.workbench import Workbench
from tmkd_deploy.targets import device_checks
from tmkd_deploy.targets.finding import Finding
from tmkd_deploy.targets.resolve import profile_of

MODULE = re.compile(r"p\d{4}-\d{4}")
_MODE = re.compile(r"\bID=(\d+)\s+NAME=(\S+)")
_ANOTHER_CARRIER = "Another maker's board"


def module(bench: Workbench, evidence: Evidence) -> None:
    """The profile is that of the module's number, whatever the carrier is called."""
    require_jetson(bench)
    entries = bench.board_files["compatible"]
    evidence.quote(entries)
    numbers = [number for entry in entries for number in MODULE.findall(entry)]
    profile = bench.profile
    anonymous = profile_of({**bench.info, "model": _ANOTHER_CARRIER})
    evidence.add(
        modules=list(numbers),
        profile=profile.name if profile else None,
        profile_by_module_alone=anonymous,
        model=bench.info["model"],
    )
    require(bool(numbers), "The device tree names no module.")
    fits = profile is not None and any(profile.has_module(entry) for entry in entries)
    expect(fits, "The profile that doctor chooses does not list this module.")
    expect(
        profile is not None and anonymous == profile.name,
        f"By its module alone, the board would be {anonymous}.",
    )


def releases(bench: Workbench, evidence: Evidence) -> None:
    """JetPack, Jetson Linux, CUDA and TensorRT belong together, as the profile lists them."""
    require_jetson(bench)
    info, lines = bench.info, bench.board_files["release"]
    evidence.quote(lines)
    evidence.add(**{name: info[name] for name in ("jetpack", "l4t", "cuda", "tensorrt")})
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", " ".join(lines))
    printed = f"{found[1]}.{found[2]}" if found else None
    expect(printed == info["l4t"], f"The file says {printed}, and the probe {info['l4t']}.")
    findings = _findings(bench)
    for subject in ("JetPack", "CUDA", "TensorRT"):
        finding = findings.get(subject)
        words = "not reported" if finding is None else f"{finding.state}: {finding.found}"
        evidence.add(**{f"doctor_{subject.lower()}": words})
    wrong = [
        subject
        for subject in ("JetPack", "CUDA", "TensorRT")
        if subject not in findings or findings[subject].state != "ok"
    ]
    expect(not wrong, f"doctor does not report as ok: {', '.join(wrong)}.")


def gpu(bench: Workbench, evidence: Evidence) -> None:
    """The CUDA driver names the GPU and its compute capability."""
    require_jetson(bench)
    denied = bench.info["gpu_denied"]
    require(denied is None, f"This account may not open {(denied or {}).get('path')}.")
    known = bench.info["gpu"] or {}
    evidence.add(name=known.get("name"), sm=known.get("sm"), memory_mb=known.get("memory_mb"))
    evidence.add(nvidia_smi=bench.board_files["has_nvidia_smi"])
    finding = _findings(bench).get("GPU")
    words = "nothing" if finding is None else f"{finding.state}: {finding.found}"
    evidence.add(doctor_gpu=words)
    expect(finding is not None and finding.state == "ok", f"doctor reports of the GPU: {words}.")


def power_mode(bench: Workbench, evidence: Evidence) -> None:
    """The mode is read without root, and the profile's fastest is a mode of this board."""
    require_jetson(bench)
    files = bench.board_files
    require(not files["is_root"], "This account is root; connect with another one.")
    evidence.quote([*files["nvpmodel"], *files["modes"]])
    mode = bench.info["power_mode"]
    modes = {int(number): name for number, name in _MODE.findall(" ".join(files["modes"]))}
    require(bool(modes), "/etc/nvpmodel.conf lists no mode.")
    expect(mode is not None, "The probe finds no power mode.")
    evidence.add(id=mode["id"], name=mode["name"])
    expect(
        modes.get(mode["id"]) == mode["name"],
        f"Mode {mode['id']} is {modes.get(mode['id'])} in /etc/nvpmodel.conf, not {mode['name']}.",
    )
    listed = bench.profile.power_modes if bench.profile else []
    require(bool(listed), "The profile lists no power modes.")
    fastest = listed[0]
    evidence.add(profile_fastest=f"{fastest.name} ({fastest.id})")
    expect(
        modes.get(fastest.id) == fastest.name,
        f"The profile's fastest mode is {fastest.name} ({fastest.id}), and this board's mode "
        f"{fastest.id} is {modes.get(fastest.id)}.",
    )


def _findings(bench: Workbench) -> dict[str, Finding]:
    found = device_checks.findings(bench.info, bench.profile)
    return {each.subject: each for each in reversed(found)}
