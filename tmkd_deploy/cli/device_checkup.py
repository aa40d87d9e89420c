"""The checks of `doctor --device`."""

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
        TmkdError: the address is not valid, or the device is unreachable or cannot run the agent.
    """
    with Device(parse(address), SilentEvents()) as device:
        return device.info


def examine(info: dict[str, Any], recipe: Recipe | None) -> list[Finding]:
    """The findings on the device for those targets of the recipe that it can be.

    Without a recipe, it is checked as the target that its own description fits.
    """
    if recipe is None:
        described = resolve.profile_of(info)
        return device_checks.findings(info, catalog.get(described) if described else None)
    matching, others = [], []
    for entry in recipe.targets:
        try:
            matching.append(catalog.get(resolve.resolve_profile(entry.target, info)[0]))
        except RequestError as error:
            others.append((entry.target, error))
    if not matching:
        return [
            *device_checks.findings(info, None),
            *(_not_this_target(*each, "error") for each in others),
        ]
    # Findings shared by several targets are listed once.
    found = dict.fromkeys(
        each for target in matching for each in device_checks.findings(info, target)
    )
    return [*found, *(_not_this_target(*each, "missing") for each in others)]


def _not_this_target(name: str, error: RequestError, state: Literal["error", "missing"]) -> Finding:
    return Finding(f"Target {name}", state, error.problem, error.advice)
