"""What an application imports: open, verify, predict.

It needs the standard library, numpy, Pillow and the device's own runtime, and nothing else of this
package.
"""

from tmkd_deploy.runtime.bundle_classifier import Classifier, Prediction, load
from tmkd_deploy.runtime.bundle_errors import BundleError, RuntimeMissingError
from tmkd_deploy.runtime.verification import VerifyReport, verify

__all__ = [
    "BundleError",
    "Classifier",
    "Prediction",
    "RuntimeMissingError",
    "VerifyReport",
    "load",
    "verify",
]
