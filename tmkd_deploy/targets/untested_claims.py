"""What this project says of devices and has not seen on one: each claim, and what would show it.

docs/how-to/devices.md lists them (docs/generate_untested_claims.py). A claim that was shown leaves
this list; its identifier is not used again.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

# what has to be there: a Jetson, one with a DLA, a GPU of an rtx-* target, or an Arm board without
# a GPU; "by_hand" needs somebody at the board
Needs = Literal["jetson", "dla", "rtx", "arm", "by_hand"]


class Claim(NamedTuple):
    """One claim: a stable `id`, what it `needs`, the `claim` itself, and what it is `shown_by`."""

    id: str
    needs: Needs
    claim: str
    shown_by: str


CLAIMS = (
    Claim(
        "flash",
        "by_hand",
        "A board flashed as NVIDIA's pages say, with `nvidia-jetpack` and `python3-numpy` "
        "installed, is ready.",
        "`doctor` finds no error on it.",
    ),
    Claim(
        "module",
        "jetson",
        "A Jetson is recognised by its device tree, also on a carrier of another maker.",
        "The profile that `doctor` chooses is that of the module in `tr '\\0' '\\n' < "
        "/proc/device-tree/compatible`.",
    ),
    Claim(
        "releases",
        "jetson",
        "JetPack, Jetson Linux, CUDA and TensorRT are those that the profile lists together.",
        "`doctor` reports the release of `/etc/nv_tegra_release`, and JetPack, CUDA and "
        "TensorRT as `ok`.",
    ),
    Claim(
        "gpu",
        "jetson",
        "The CUDA driver names the GPU and its compute capability, where `nvidia-smi` does not "
        "exist either.",
        "`doctor` reports the GPU as `ok`.",
    ),
    Claim(
        "gpu-group",
        "by_hand",
        "For an account outside of the group `video`, `doctor` names the device file that it "
        "may not open.",
        "`doctor` with such an account reports it, and is satisfied after `usermod`.",
    ),
    Claim(
        "power-mode",
        "jetson",
        "The power mode is read without root, and the fastest one is the profile's first.",
        "`doctor` reports the mode of `nvpmodel -q`; the name and number are those in "
        "`/etc/nvpmodel.conf`.",
    ),
    Claim(
        "clocks",
        "by_hand",
        "`doctor` distinguishes locked clocks from others, also in modes in which processors "
        "are offline.",
        "`doctor` reports `not locked` before `sudo jetson_clocks`, and `locked` after it.",
    ),
    Claim(
        "power",
        "jetson",
        "The power of the whole module or board is read from its monitors, or from `tegrastats`.",
        "While a program runs, it is within a tenth of what `tegrastats` prints for the same rail.",
    ),
    Claim(
        "heat",
        "jetson",
        "Temperatures and throttling are read while engines are timed.",
        "The report of a measurement has temperatures, and says whether the board throttled.",
    ),
    Claim(
        "build",
        "jetson",
        "TensorRT's module builds FP32, FP16 and INT8 engines from the file and with the types "
        "that suit its release.",
        "`export` ends with three engines, and their manifests name the typing: `flags` before "
        "TensorRT 10, `strong` from 10 on.",
    ),
    Claim(
        "same-decisions",
        "jetson",
        "The engines decide as the ONNX files that they were built from.",
        "In the accuracy ledger, each engine agrees with its ONNX file on at least 98 % of the "
        "test images.",
    ),
    Claim(
        "int8-layers",
        "jetson",
        "The INT8 engine computes its convolutions in INT8, and the engine inspector says so.",
        "The report counts as many INT8 layers as layers were quantized.",
    ),
    Claim(
        "fp16-scale-floor",
        "jetson",
        "A channel whose weights are zero, or too small for FP16, keeps a scale above zero, which "
        "TensorRT accepts.",
        "An INT8 engine of a network with such channels is built with strong typing, and agrees "
        "with its ONNX file.",
    ),
    Claim(
        "timing-cache",
        "jetson",
        "A second build reuses the kernel timings of the first.",
        "A build after the engine was deleted gives an engine again, in less time.",
    ),
    Claim(
        "trtexec",
        "jetson",
        "`trtexec` builds the same engines, with the commands of a build kit.",
        "Each `build-<precision>.sh` of a kit writes an engine that TensorRT's module opens.",
    ),
    Claim(
        "memory",
        "by_hand",
        "A build that runs out of memory is reported, and the agent survives it.",
        "While another program holds nearly all memory, `export` ends with the memory that was "
        "free.",
    ),
    Claim(
        "flags-after-myelin",
        "jetson",
        "INT8 that fails in TensorRT's compiler with strong typing, as others saw on Orin with "
        "10.16.2, is built with flags.",
        "On such a board, the manifest of the INT8 engine has `strong_typing_failed`, and the "
        "engine agrees with its ONNX file.",
    ),
    Claim(
        "other-device",
        "jetson",
        "An engine of another release or GPU is refused before TensorRT reads it.",
        "A manifest with another release, beside a copy of the engine, leads to the refusal "
        "that names both.",
    ),
    Claim(
        "session",
        "jetson",
        "Images go to the GPU and logits come back through the CUDA runtime, and nothing is "
        "leaked.",
        "`validate` measures; free memory after a thousand inferences is what it was after ten.",
    ),
    Claim(
        "latency",
        "jetson",
        "With locked clocks, latencies are steady, and the device's own time is below the host's.",
        "`validate` reports no warning of clocks or warm-up; two runs agree within their "
        "intervals.",
    ),
    Claim(
        "trtexec-latency",
        "jetson",
        "The time that the latency protocol measures on the GPU is that of `trtexec`.",
        "Timed in turns by the protocol of `validate` and by `trtexec --loadEngine`, the ratio of "
        "the times of an engine lies within 10 %.",
    ),
    Claim(
        "cuda-graph",
        "jetson",
        "Copies and engine run as one CUDA graph.",
        "`validate` reports no engine that runs without one.",
    ),
    Claim(
        "install",
        "jetson",
        "`bundle install` builds an engine of a bundle that was made elsewhere, checks its golden "
        "results, and applications find it.",
        "`bundle install` reports the engine as built, and the second time as installed before.",
    ),
    Claim(
        "cpp-tensorrt",
        "jetson",
        "The C++ runtime builds with the TensorRT of JetPack, and runs a bundle's plan as Python "
        "does.",
        "`tmkd-classify --verify`, built on the board, reproduces the golden results, and decides "
        "on frames as the engine does in Python.",
    ),
    Claim(
        "dla-cores",
        "dla",
        "TensorRT finds the DLA cores that the profile lists, except 10.8 to 10.16, which find "
        "none.",
        "`doctor --json` gives their number as `dla_cores`.",
    ),
    Claim(
        "dla-fp16",
        "dla",
        "With `dla_core`, most layers of the FP16 engine run on the DLA.",
        "`gpu_fallback_layers` in its manifest lists the conversion of pixels and the "
        "classifier at most, and the engine agrees with its ONNX file.",
    ),
    Claim(
        "dla-int8",
        "dla",
        "Before TensorRT 11, the INT8 engine takes its scales from the calibration cache that "
        "is written for it.",
        "The builder's log accepts the cache; the engine agrees with the ONNX file that has "
        "Q/DQ pairs; fewer layers fall back than from that file.",
    ),
    Claim(
        "dla-int8-qdq",
        "dla",
        "From TensorRT 11 on, the DLA reads Q/DQ pairs.",
        "There, `gpu_fallback_layers` of the INT8 engine is as short as that of the FP16 engine.",
    ),
    Claim(
        "rtx-run",
        "rtx",
        "TensorRT-RTX engines that were built without a GPU load and run on the GPU they are for.",
        "`validate` with the GPU attached measures them, and they agree with their ONNX files.",
    ),
    Claim(
        "arm-decisions",
        "arm",
        "ONNX Runtime's FP32 and INT8 engines decide on an Arm board as on x86-64.",
        "Each engine agrees with its ONNX file, run on a PC, on at least 98 % of the images.",
    ),
    Claim(
        "cpp-onnxruntime",
        "arm",
        "The C++ runtime builds on an Arm board with ONNX Runtime, and decides as Python does.",
        "`tmkd-classify --verify`, built on the board, reproduces the golden results, and decides "
        "on frames as the engine does in Python.",
    ),
    Claim(
        "arm-speed",
        "arm",
        "INT8 is faster than FP32 on an Arm processor with dot-product instructions.",
        "`validate --target cpu-arm64` compares them on the board.",
    ),
)
