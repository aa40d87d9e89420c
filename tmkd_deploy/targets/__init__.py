"""Targets: one YAML profile per device, and whether a device fits its profile.

`catalog` finds profiles, shipped or custom; `resolve` picks the one that describes an attached
device. `device_checks` and `int8_check` produce the findings of `doctor`, and `machine_probe`
describes this machine.
"""
