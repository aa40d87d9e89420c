"""The findings that `doctor --device` tells."""

from __future__ import annotations

from typing import Any, Literal

from tmkd_deploy.devices.address import parse
from tmkd_deploy.devices.device import Device
from tmkd_deploy.errors import RequestError
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.recipe.schema import Recipe
from tmkd_deploy.targets import catalog, device_checks, resolve
from tmkd_deploy.targets.finding import Finding


def probe(address: str) -> dict[str, Any]:
    """What the agent's probe reports of the device at `address`, such as "ssh://user@orin".

    Raises:
        TmkdError: it is no address, or the device cannot be reached or cannot run the agent.
    """
    with Device(parse(address), SilentEvents()) as device:
        return device.info


def examine(info: dict[str, Any], recipe: Recipe | None) -> list[Finding]:
    """What is worth knowing of the device for those targets of the recipe that it can be.

    Without a recipe it is looked at as the device it calls itself.
    """
    if recipe is None:
        described = resolve.profile_of(info)
        return device_checks.findings(info, catalog.get(described) if described else None)
    fitting, strange = [], []
    for asked in recipe.targets:
        try:
            fitting.append(catalog.get(resolve.resolve_profile(asked.target, info)[0]))
        except RequestError as error:
            strange.append((asked.target, error))
    if not fitting:
        return [
            *device_checks.findings(info, None),
            *(_not_this(*each, "wrong") for each in strange),
        ]
    # What is said of several targets alike is said once.
    found = dict.fromkeys(
        each for target in fitting for each in device_checks.findings(info, target)
    )
    return [*found, *(_not_this(*each, "absent") for each in strange)]


def _not_this(name: str, error: RequestError, state: Literal["wrong", "absent"]) -> Finding:
    return Finding(f"Target {name}", state, error.problem, error.advice)
