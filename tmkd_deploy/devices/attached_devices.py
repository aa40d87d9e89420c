"""The devices that a run's targets are attached to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tmkd_deploy.devices.address import parse
from tmkd_deploy.devices.device import Device
from tmkd_deploy.events import Events

# what engines and measurements depend on; clocks, temperatures and free memory come and go
_IDENTITY = (
    *("model", "machine", "processor", "gpu", "power_mode", "jetpack", "l4t", "driver", "cuda"),
    *("tensorrt", "tensorrt_rtx", "trtexec", "onnxruntime", "openvino", "numpy"),
)


class AttachedDevices:
    """Devices by address. Each is probed once in a run, and cleaned once."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._info: dict[str, dict[str, Any]] = {}
        self._cleaned: set[str] = set()

    def info(self, address: str) -> dict[str, Any]:
        """The device info, requested once; this does not lock the device.

        Raises:
            TmkdError: as `Device`.
        """
        if address not in self._info:
            with Device(parse(address), self._events) as device:
                self._info[address] = device.info
        return self._info[address]

    def identity(self, address: str) -> dict[str, Any]:
        """The part of the info that engines and measurements depend on; errors as `info`."""
        return {name: self.info(address).get(name) for name in _IDENTITY}

    @contextmanager
    def locked(self, address: str) -> Iterator[Device]:
        """The device, locked for this run until the end of `with`.

        The first time, leftovers of earlier runs are deleted there, before more is sent.

        Raises:
            BusyError: another run holds it; the error names that run. Otherwise as `Device`.
        """
        with Device(parse(address), self._events) as device:
            device.lock()
            if address not in self._cleaned:
                device.request("clean")
                self._cleaned.add(address)
            yield device
