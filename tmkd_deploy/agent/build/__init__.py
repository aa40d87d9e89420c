"""The `build` request: an ONNX file becomes an engine, with a manifest and its layers beside it.

`build_request` serves it and `builders` chooses the way: ONNX Runtime takes the file as it is,
`tensorrt_build` calls TensorRT's Python module in a child process, and `trtexec` stands in where
that module is missing. `install_request` keeps what was built for applications on this device.
`preflight` refuses an engine on the wrong device.
"""
