"""What is sent to a device and run there by its own Python, 3.8 or newer.

It imports the standard library, numpy, the device's runtime, and of this package only itself and
`tmkd_deploy.runtime.onnxruntime_session`. It is started by `python3 -m tmkd_deploy.agent`, reads
requests from its standard input and answers in JSON lines, each of this schema.
"""

SCHEMA = 1
