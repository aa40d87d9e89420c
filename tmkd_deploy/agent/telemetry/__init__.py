"""What a machine is and what state it is in.

`device_probe` serves the `probe` request; `machine` and `identity` are the parts of it that
measurements and engines record. `system_monitor` samples `conditions` and `power` during timing.
"""
