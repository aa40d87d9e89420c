"""What is wrong with a device, found in its device info before anything long starts.

Sources of the commands: nvpmodel and jetson_clocks in NVIDIA's Jetson Linux Developer Guide,
https://docs.nvidia.com/jetson/archives/r38.2.1/DeveloperGuide/SD/PlatformPowerAndPerformance.html;
cuda-toolkit-* as apt packages, https://pytorch.org/TensorRT/getting_started/jetpack.html; vcgencmd,
https://www.raspberrypi.com/documentation/computers/os.html#vcgencmd.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from tmkd_deploy.runtime import gpu_access
from tmkd_deploy.targets import support
from tmkd_deploy.targets.finding import Finding
from tmkd_deploy.targets.int8_check import int8_findings
from tmkd_deploy.targets.runtime_checks import import_error, runtime_findings
from tmkd_deploy.targets.target_profile import Software, TargetProfile

# Our own choices: files and engines of a model take tens of MB.
DISK_MB_NEEDED = 1024
MEMORY_MB_NEEDED = 256
MEMORY_MB_ADVISED = 1024
# TensorRT 10.0's builder took about 2 GB, and 300 MB on the device, on x86.
BUILDER_MB_NEEDED = 1024
BUILDER_MB_ADVISED = 2048
SKEW_SECONDS_ALLOWED = 60

NUMPY = "sudo apt-get install python3-numpy"


def findings(
    info: dict[str, Any], profile: TargetProfile | None, host_time: float | None = None
) -> list[Finding]:
    """Check a device before it is used for `profile`.

    `info` is the result of the agent's `probe`, and `host_time` this machine's time when it
    arrived, in seconds since 1970; the default is now. Without a profile, only what every device
    needs is checked.
    """
    jetson = info["l4t"] is not None
    release = profile.release(info["jetpack"], info["l4t"]) if profile else None
    return [
        Finding("Device", "ok", _device(info)),
        _python(info),
        *([] if profile is None else _architecture(info, profile)),
        *(_jetpack(info, profile, release) if profile and profile.software else []),
        *known_faults(info),
        *runtime_findings(info, profile, release),
        *(int8_findings(info) if profile is None or profile.runtime == "onnxruntime" else []),
        *(_cuda(info, release) if profile and profile.compute_capability else []),
        *_disk(info),
        *_memory(info, profile),
        *(_power_mode(info, profile) if profile else []),
        *_clocks(info, jetson),
        *_throttling(info, jetson),
        *_clock_skew(info, time.time() if host_time is None else host_time),
    ]


def _device(info: dict[str, Any]) -> str:
    name = info["model"] or info["processor"]
    parts = (name, info["machine"], f"{info['cores']} cores", info["system"])
    return ", ".join(part for part in parts if part)


def _python(info: dict[str, Any]) -> Finding:
    if info["numpy"] is None:
        lacks = import_error(info, "numpy") or "without numpy"
        return Finding("Python", "error", f"{info['python']} {lacks}", NUMPY)
    return Finding("Python", "ok", f"{info['python']}, numpy {info['numpy']}")


def _architecture(info: dict[str, Any], profile: TargetProfile) -> Iterator[Finding]:
    if not profile.is_machine(info["machine"]):
        found = f"{info['machine']}, but {profile.name} is {profile.machine}"
        yield Finding("Architecture", "error", found, "Choose another target or device.")
    elif profile.compute_capability:
        yield _gpu(info, profile)


def _gpu(info: dict[str, Any], profile: TargetProfile) -> Finding:
    sm, denied, error = (info["gpu"] or {}).get("sm"), info["gpu_denied"], info["cuda_error"]
    if denied:
        found = f"this account may not open {denied['path']} of the group {denied['group']}"
        return Finding("GPU", "error", found, f"On the device: {gpu_access.ALLOW}.")
    if error is not None:
        return Finding("GPU", "error", f"CUDA does not start (error {error})", _watch(info))
    if sm is None:
        return Finding("GPU", "warning", "not found", _watch(info))
    if f"SM{sm}" != profile.compute_capability:
        found = f"SM{sm}, but {profile.name} is {profile.compute_capability}"
        return Finding("GPU", "error", found, "Choose another target or device.")
    return Finding("GPU", "ok", f"{info['gpu']['name']}, SM{sm}")


def _watch(info: dict[str, Any]) -> str:
    # JetPack 5 has no nvidia-smi
    return f"Check with: {'sudo tegrastats' if info['l4t'] else 'nvidia-smi'}"


def _jetpack(
    info: dict[str, Any], profile: TargetProfile, release: Software | None
) -> Iterator[Finding]:
    linux = f"Jetson Linux {info['l4t']}" if info["l4t"] else "Jetson Linux unknown"
    if release is not None:
        said = info["jetpack"] or f"{release.jetpack} by its Linux; package not installed"
        yield Finding("JetPack", "ok", f"{said} ({linux})")
    elif info["jetpack"] is None and info["l4t"] is None:
        remedy = "Check with: cat /etc/nv_tegra_release; apt-cache show nvidia-jetpack"
        yield Finding("JetPack", "warning", "unknown", remedy)
    else:
        known = ", ".join(row.jetpack for row in profile.software)
        yield Finding(
            "JetPack",
            "warning",
            f"{info['jetpack'] or 'unknown'} ({linux}); supported for {profile.name}: {known}",
            "Flash one of these with https://developer.nvidia.com/sdk-manager, or continue and "
            "check the build's messages.",
        )


def known_faults(info: dict[str, Any]) -> Iterator[Finding]:
    """Faults of a device's software that a build may meet."""
    # https://github.com/ggml-org/llama.cpp/pull/23732; that a restart helps:
    # https://github.com/0xShug0/audio.cpp/issues/12
    if (info["l4t"] or "").startswith("36.4.7"):
        found = f"{info['l4t']} may refuse GPU memory although it is free (NvMap, error 12)"
        remedy = "If a build runs out of memory, restart the device and build first of all."
        yield Finding("Jetson Linux", "warning", found, remedy)


def _cuda(info: dict[str, Any], release: Software | None) -> Iterator[Finding]:
    cuda, driver = info["cuda"], info["driver"]
    if cuda is None:
        return
    if release is not None:
        if support.numbers(cuda)[:1] != support.numbers(release.cuda)[:1]:
            tensorrt = f"the TensorRT of JetPack {release.jetpack}"
            found = f"CUDA {cuda}, but {tensorrt} needs {release.cuda}"
            remedy = f"sudo apt-get install cuda-toolkit-{release.cuda.replace('.', '-')}"
            yield Finding("CUDA", "error", found, remedy)
        else:
            yield Finding("CUDA", "ok", cuda)
        return
    oldest = support.oldest_driver(cuda)
    if driver and oldest and support.numbers(driver) < support.numbers(oldest):
        found = f"CUDA {cuda} needs driver {oldest} or newer, but this one is {driver}"
        remedy = f"sudo apt-get install nvidia-driver-{oldest.split('.')[0]}, then restart"
        yield Finding("CUDA", "error", found, remedy)
    else:
        yield Finding("CUDA", "ok", f"{cuda}, driver {driver or 'unknown'}")


def _disk(info: dict[str, Any]) -> Iterator[Finding]:
    free = info["disk_free_mb"]
    if free is None:
        return
    if free < DISK_MB_NEEDED:
        remedy = (
            f"Free {DISK_MB_NEEDED} MB there, or set TMKD_DEPLOY_AGENT_HOME to another disk in "
            "/etc/environment."
        )
        yield Finding("Disk", "error", f"{free} MB free", remedy)
    else:
        yield Finding("Disk", "ok", f"{free} MB free")


def _memory(info: dict[str, Any], profile: TargetProfile | None) -> Iterator[Finding]:
    free = info["memory_free_mb"]
    if free is None:
        return
    needed, wanted = MEMORY_MB_NEEDED, MEMORY_MB_ADVISED
    if profile and profile.runtime == "tensorrt":
        needed = BUILDER_MB_NEEDED
        wanted = max(BUILDER_MB_ADVISED, profile.workspace_mb or 0)
    found = f"{free} of {info['memory_mb']} MB free"
    remedy = "Close other programs; stop the desktop with: sudo systemctl isolate multi-user.target"
    if free < needed:
        yield Finding("Memory", "error", found, remedy)
    elif free < wanted:
        yield Finding("Memory", "warning", f"{found}; building should have {wanted}", remedy)
    else:
        yield Finding("Memory", "ok", found)


def _power_mode(info: dict[str, Any], profile: TargetProfile) -> Iterator[Finding]:
    mode = info["power_mode"]
    if mode is None or not profile.power_modes:
        return
    fastest = profile.power_modes[0]
    found = f"{mode['name']} ({mode['id']})"
    if mode["name"].startswith("MAXN") or mode["name"] == fastest.name:
        yield Finding("Power mode", "ok", found)
        return
    yield Finding(
        "Power mode",
        "warning",
        f"{found}; the fastest is {fastest.name}",
        f"sudo nvpmodel -m {fastest.id}, if that is {fastest.name} on this device: "
        "grep POWER_MODEL /etc/nvpmodel.conf",
    )


def _clocks(info: dict[str, Any], jetson: bool) -> Iterator[Finding]:
    clocks = info["clocks"] or {}
    if clocks.get("locked") is None:
        return
    governor = f"governor {clocks.get('governor') or 'unknown'}"
    if clocks["locked"]:
        yield Finding("Clocks", "ok", f"locked, {governor}")
        return
    governors = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
    remedy = "sudo jetson_clocks" if jetson else f"echo performance | sudo tee {governors}"
    yield Finding("Clocks", "warning", f"not locked, {governor}; latencies will vary", remedy)


def _throttling(info: dict[str, Any], jetson: bool) -> Iterator[Finding]:
    if not info["throttled"]:
        return
    zones = (info["temperature_c"] or {}).items()
    hottest = max(zones, key=lambda zone: float(zone[1]), default=None)
    found = f"throttling; {hottest[0]} is at {hottest[1]:g} °C" if hottest else "throttling"
    watch = "sudo tegrastats" if jetson else "vcgencmd get_throttled on a Raspberry Pi"
    yield Finding(
        "Heat",
        "warning",
        found,
        f"Improve cooling, and check the power supply. Watch with: {watch}",
    )


def _clock_skew(info: dict[str, Any], host_time: float) -> Iterator[Finding]:
    skew = info["time"] - host_time
    if abs(skew) <= SKEW_SECONDS_ALLOWED:
        yield Finding("Clock", "ok", "agrees with this machine's")
        return
    found = f"{_duration(abs(skew))} {'ahead of' if skew > 0 else 'behind'} this machine's"
    yield Finding("Clock", "warning", found, "sudo timedatectl set-ntp true")


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
