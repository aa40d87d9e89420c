"""The program that is sent to a device and runs there on its own Python, 3.8 or newer.

It imports the standard library, numpy, the device's runtime and, from this package, only itself and
`tmkd_deploy.runtime.runtimes` with what that needs. `python3 -m tmkd_deploy.agent` starts it; it
reads requests from standard input and answers in JSON lines of this schema.
"""

import os
import sys

SCHEMA = 1

# as `tmkd_deploy/__init__.py` does, which is not sent
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# Merely importing OpenVINO reports that to its makers, unless it cannot import this.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
