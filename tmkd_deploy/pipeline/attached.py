"""The devices that targets are attached to, as a run sees them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tmkd_deploy.devices.address import parse
from tmkd_deploy.devices.device import Device
from tmkd_deploy.events import Events

# what an engine and its figures depend on; clocks, temperatures and free memory come and go
_IDENTITY = (
    *("model", "machine", "processor", "gpu", "power_mode", "jetpack", "l4t", "driver", "cuda"),
    *("tensorrt", "tensorrt_rtx", "trtexec", "onnxruntime", "numpy"),
)


class Attached:
    """Devices by their address. Each is asked once in a run what it is."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._facts: dict[str, dict[str, Any]] = {}

    def facts(self, address: str) -> dict[str, Any]:
        """What the device is, by the agent's `probe`; a file of it is left there and no lock.

        Raises:
            TmkdError: as `Device`.
        """
        if address not in self._facts:
            with Device(parse(address), self._events) as device:
                self._facts[address] = device.facts
        return self._facts[address]

    def identity(self, address: str) -> dict[str, Any]:
        """What of its facts engines and figures depend on; errors as `facts`."""
        return {name: self.facts(address).get(name) for name in _IDENTITY}

    @contextmanager
    def held(self, address: str) -> Iterator[Device]:
        """The device, locked for this run until the end of `with`.

        Raises:
            BusyError: another run holds it, and is named; otherwise as `Device`.
        """
        with Device(parse(address), self._events) as device:
            device.lock()
            yield device
