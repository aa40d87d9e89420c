"""The `predict` and `measure` requests: engines loaded, run and timed.

`sessions` opens an engine with `onnxruntime_cpu` or `tensorrt_module` (which copies through
`cudart`). `timing` is the latency protocol, and `warmup` decides when an engine has warmed up.
"""
