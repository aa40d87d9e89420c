"""What the quantize stage records; readable without torch."""

from __future__ import annotations

from tmkd_deploy.artifacts import Facts


class QuantizationFacts(Facts):
    """What was quantized, on which images it was calibrated, and what it cost so far.

    Accuracies are top-1 on the test split in [0, 1], computed by fake quantization in `placement`.
    `calibration_sha256` is over the hashes of the calibration images, which all come from the
    training split and which `calibration.json` beside the weights lists. `control_top1` is that of
    the student fine-tuned on without quantizers, where the recipe asks for it.
    """

    layers: list[str]
    left_out: list[str]
    activation_quantizers: int
    placement: str
    calibration_method: str
    calibration_images: int
    calibration_sha256: str
    post_training_top1: float
    top1: float
    control_top1: float | None = None
