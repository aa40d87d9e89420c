"""The closed vocabularies that several packages share; importable with nothing installed."""

from __future__ import annotations

from typing import Literal

Precision = Literal["fp32", "bf16", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16", "int8")
FloatPrecision = Literal["fp32", "fp16"]

RuntimeName = Literal["onnxruntime", "openvino", "tensorrt_rtx", "tensorrt"]

View = Literal["rgb", "edge", "freq"]
VIEWS: tuple[View, ...] = ("rgb", "edge", "freq")

LogitLoss = Literal["kd", "dkd", "dist"]
Method = Literal["auto", "tmkd", "kd", "dkd", "dist"]
ImageSize = int | list[int]  # the side of a square, or height and width; in pixels
Normalisation = tuple[list[float], list[float]]  # mean and standard deviation of R, G, B in [0, 1]
Augment = Literal["none", "flip", "dihedral", "crop"]
Augmentation = Literal["random_resized_crop", "trivialaugment", "color_jitter", "random_erasing"]
Mix = Literal["none", "mixup", "cutmix"]


def height_and_width(size: ImageSize) -> tuple[int, int]:
    """Both sides of an image size in pixels."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def as_precision(name: str) -> Precision:
    """`name` as a precision.

    Raises:
        ValueError: there is no such precision.
    """
    for precision in PRECISIONS:
        if precision == name:
            return precision
    raise ValueError(f"{name!r} is not one of {', '.join(PRECISIONS)}")
