"""The table of reach, in Markdown."""

from __future__ import annotations

from typing import Any

ENOUGH = 0.995


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
        "of at most 100 million parameters. Each is trained for 60 steps of 16 Fashion-MNIST "
        "images, calibrated on 64, exported, and opened with ONNX Runtime. Agreement is the share "
        "of 200 test images on which the INT8 engine decides as the fake-quantized model in torch "
        f"does; {100 * ENOUGH:g} % is the bar. Top-1 only shows that the model learned something; "
        "where it predicts fewer than three classes (*), agreement says little. timm "
        f"{found['versions']['timm']}, torch {found['versions']['torch']}, {on['processor']}.",
        "",
        "| | Drawn | Tried | At the bar | Below | Refused | Failed or too slow |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for label, is_own in (("torchvision", True), ("timm", False)):
        names = [name for name in drawn if name.startswith("torchvision:") == is_own]
        tried = [results[name] for name in names if name in results]
        built = [each for each in tried if each["status"] == "built"]
        good = sum(each["agreement"] >= ENOUGH for each in built)
        refused = sum(each["status"] == "refused" for each in tried)
        lines.append(
            f"| {label} | {len(names)} | {len(tried)} | {good} | {len(built) - good} | {refused} "
            f"| {len(tried) - len(built) - refused} |"
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
        few = "*" if each["classes_predicted"] < 3 else ""
        lines.append(
            f"| `{name}` | {each['pixels']} | {each['million_parameters']:.1f} "
            f"| {each['int8_layers']} of {each['layers']} | {100 * each['agreement']:.1f}{few} "
            f"| {100 * each['agreement_with_float']:.1f} | {100 * each['top1']:.1f} |"
        )
    return "\n".join([*lines, *(others if len(others) > 3 else [])]) + "\n"
