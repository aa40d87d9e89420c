"""The Python API for applications: load a bundle and classify images.

It depends only on the standard library, NumPy, Pillow and the engine's runtime, not on the rest of
this package.

Example:
    ```python
    from tmkd_deploy.runtime import load

    model = load("quickstart-cpu.tmkd")
    prediction = model.predict("cell.png")
    print(prediction.label, prediction.confidence)
    ```
"""

from tmkd_deploy.runtime.bundle_classifier import Classifier, load
from tmkd_deploy.runtime.bundle_errors import ArgumentError, BundleError, RuntimeMissingError
from tmkd_deploy.runtime.image import UnreadableImage
from tmkd_deploy.runtime.manifest import Manifest
from tmkd_deploy.runtime.manifest_engine import BuildRecipe, BundledEngine, MadeFor
from tmkd_deploy.runtime.prediction import Prediction
from tmkd_deploy.runtime.verification import EngineReport, VerifyReport, verify

__all__ = [
    "ArgumentError",
    "BuildRecipe",
    "BundleError",
    "BundledEngine",
    "Classifier",
    "EngineReport",
    "MadeFor",
    "Manifest",
    "Prediction",
    "RuntimeMissingError",
    "UnreadableImage",
    "VerifyReport",
    "load",
    "verify",
]
