"""The ONNX files that a target is built from."""

from __future__ import annotations

from tmkd_deploy.engines.interface import Runtime, variant_for
from tmkd_deploy.engines.registry import runtime
from tmkd_deploy.engines.tensorrt_typing import FLAGS_OPSET, dla_needs_cache, typing_of
from tmkd_deploy.errors import RequestError
from tmkd_deploy.records.onnx_model import Variant
from tmkd_deploy.records.types import Precision
from tmkd_deploy.targets.target_profile import TargetProfile


def variants_for(
    profile: TargetProfile, precision: Precision, release: str | None = None, dla: bool = False
) -> list[Variant]:
    """The ONNX variants of the student that `precision` is built from, the main one first.

    There are two if devices of the profile may have TensorRT 8 or newer, and one if the `release`
    of an attached device is known. For a `dla` that takes the scales of INT8 from a cache, it is
    the file with weights in floating point.
    """
    builder = runtime(profile.runtime)
    possible = [release] if release else [row.tensorrt for row in profile.software]
    releases = possible if builder.name == "tensorrt" else []
    by_ceiling = "flags" if profile.opset_ceiling <= FLAGS_OPSET else "strong"
    cached = dla and precision == "int8"
    typings = dict.fromkeys(
        "flags" if cached and dla_needs_cache(each) else typing_of(each) for each in releases
    ) or [by_ceiling]
    return [
        variant_for(builder, precision) if typing == "strong" else _for_flags(builder, precision)
        for typing in typings
    ]


def refuse_unreadable_opset(profile: TargetProfile, asked: int) -> None:
    """Refuse an opset that is too new for a target.

    Args:
        profile: of the target.
        asked: the recipe's opset.

    Raises:
        RequestError: the opset that would be exported exceeds the target's ceiling.
    """
    ceiling = profile.opset_ceiling
    written = variants_for(profile, "fp32")[0].opset or asked
    if written <= ceiling:
        return
    raise RequestError(
        f"The target {profile.name!r} supports ONNX up to opset {ceiling}, but "
        + (
            f"the recipe requests {asked}."
            if written == asked
            else f"{written} is the oldest that can be exported."
        ),
        where="export.opset",
        advice=f"Set export.opset to {ceiling} or less."
        if ceiling > FLAGS_OPSET
        else "Choose another target, or update the software of this one.",
    )


def _for_flags(builder: Runtime, precision: Precision) -> Variant:
    if precision == "int8":
        return Variant("student", "int8", builder.quant_scheme, "fp32", FLAGS_OPSET)
    # a flag allows FP16, so one file serves both
    return Variant("student", "fp32", opset=FLAGS_OPSET)
