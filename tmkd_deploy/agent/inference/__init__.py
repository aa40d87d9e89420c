"""The `predict` and `measure` requests: engines loaded, run and timed.

`sessions` opens an engine as an application does, with `tmkd_deploy.runtime.runtimes`. `timing` is
the latency protocol, and `warmup` decides when an engine has warmed up.
"""
