"""Which ONNX files a target is built from."""

from __future__ import annotations

from tmkd_deploy.engines.interface import Runtime, variant_for
from tmkd_deploy.engines.registry import runtime
from tmkd_deploy.engines.tensorrt_typing import FLAGS_OPSET, typing_of
from tmkd_deploy.errors import RequestError
from tmkd_deploy.records.onnx_model import Variant
from tmkd_deploy.records.types import Precision
from tmkd_deploy.targets.target_profile import TargetProfile


def variants_for(
    profile: TargetProfile, precision: Precision, release: str | None = None
) -> list[Variant]:
    """The ONNX files of the student that `precision` is built from, the main one first.

    There are two where devices of the profile may carry TensorRT 8 or a newer one, and one where
    an attached device says which `release` it carries.
    """
    builder = runtime(profile.runtime)
    possible = [release] if release else [row.tensorrt for row in profile.software]
    releases = possible if builder.name == "tensorrt" else []
    by_ceiling = "flags" if profile.opset_ceiling <= FLAGS_OPSET else "strong"
    typings = dict.fromkeys(map(typing_of, releases)) or [by_ceiling]
    return [
        variant_for(builder, precision) if typing == "strong" else _for_flags(builder, precision)
        for typing in typings
    ]


def refuse_unreadable_opset(profile: TargetProfile, asked: int) -> None:
    """Raise where a target reads no opset as new as the one that would be written for it.

    Raises:
        RequestError: neither `asked`, that of the recipe, nor the oldest one is within its ceiling.
    """
    ceiling = profile.opset_ceiling
    written = variants_for(profile, "fp32")[0].opset or asked
    if written <= ceiling:
        return
    raise RequestError(
        f"The target {profile.name!r} reads ONNX up to opset {ceiling}, and "
        + (f"the recipe asks for {asked}." if written == asked else f"{written} is the oldest."),
        where="export.opset",
        advice=f"Set export.opset to {ceiling} or less."
        if ceiling > FLAGS_OPSET
        else "Choose another target, or update the software of this one.",
    )


def _for_flags(builder: Runtime, precision: Precision) -> Variant:
    if precision == "int8":
        return Variant("student", "int8", builder.quant_scheme, "fp32", FLAGS_OPSET)
    # a flag lets TensorRT take FP16, so there is one file for both
    return Variant("student", "fp32", opset=FLAGS_OPSET)
