"""The table of reach, in Markdown."""

from __future__ import annotations

from typing import Any

from benchmarks.reach.one_model import BATCH, CALIBRATION_IMAGES, STEPS, TEST_IMAGES

ENOUGH = 0.995
FEWEST_CLASSES = 3  # predicted; with fewer, agreement says little


def page(found: dict[str, Any]) -> str:
    """What became of each model, and the share that arrived or was refused with a sentence."""
    drawn, results = found["drawn"], found["models"]
    on = found["machine"]
    lines = [
        "# From a model's name to its INT8 engine",
        "",
        f"*Written by `{found['command']}`; do not edit.*",
        "",
        f"torchvision's classifiers, and timm models drawn at random (seed {found['seed']}), all "
        f"of at most 100 million parameters. Each is trained for {STEPS} steps of {BATCH} "
        f"Fashion-MNIST images, calibrated on {CALIBRATION_IMAGES}, exported, and opened with ONNX "
        f"Runtime. Agreement is the share of {TEST_IMAGES} test images on which the INT8 engine "
        f"decides as the fake-quantized model in torch does; {100 * ENOUGH:g} % is the bar. Top-1 "
        "only shows that the model learned something. Where it predicts fewer than "
        f"{FEWEST_CLASSES} classes (*), agreement says little, and it does not count. timm "
        f"{found['versions']['timm']}, torch {found['versions']['torch']}, {on['processor']}.",
        "",
        "| | Drawn | Tried | At the bar | Below | Does not count | Refused | Failed or too slow |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for label, is_own in (("torchvision", True), ("timm", False)):
        names = [name for name in drawn if name.startswith("torchvision:") == is_own]
        tried = [results[name] for name in names if name in results]
        built = [each for each in tried if each["status"] == "built"]
        counted = [each for each in built if not _says_little(each)]
        good = sum(each["agreement"] >= ENOUGH for each in counted)
        refused = sum(each["status"] == "refused" for each in tried)
        lines.append(
            f"| {label} | {len(names)} | {len(tried)} | {good} | {len(counted) - good} "
            f"| {len(built) - len(counted)} | {refused} | {len(tried) - len(built) - refused} |"
        )
    lines += [
        "",
        "| Model | Pixels | Parameters, millions | INT8 layers | Agreement | With float | Top-1 |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    others = ["", "| Model | Outcome | What was said |", "|---|---|---|"]
    for name in drawn:
        each = results.get(name)
        if each is None:
            continue
        if each["status"] != "built":
            said = " ".join(each["says"].split()).replace("|", "\\|")
            others.append(f"| `{name}` | {each['status']} | {said[:200]} |")
            continue
        few = "*" if _says_little(each) else ""
        lines.append(
            f"| `{name}` | {each['pixels']} | {each['million_parameters']:.1f} "
            f"| {each['int8_layers']} of {each['layers']} | {100 * each['agreement']:.1f}{few} "
            f"| {100 * each['agreement_with_float']:.1f} | {100 * each['top1']:.1f} |"
        )
    return "\n".join([*lines, *(others if len(others) > 3 else [])]) + "\n"


def _says_little(result: dict[str, Any]) -> bool:
    """A model that gives almost every image the same class agrees with anything like it."""
    return bool(result["classes_predicted"] < FEWEST_CLASSES)
