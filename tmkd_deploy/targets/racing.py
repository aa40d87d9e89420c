"""Which runtimes run a target's engines: its own, and others that race against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tmkd_deploy.errors import EnvironmentProblem, MissingExtra, RequestError
from tmkd_deploy.records.types import Precision, RuntimeName
from tmkd_deploy.runtime.runtimes import RUNTIMES
from tmkd_deploy.targets.target_profile import PRECISIONS, TargetProfile


@dataclass(frozen=True)
class Race:
    """The runtimes of a target's engines, the target's own first."""

    runtimes: tuple[RuntimeName, ...]

    @property
    def own(self) -> RuntimeName:
        """The target's own runtime, which runs the teacher too."""
        return self.runtimes[0]


def race(
    profile: TargetProfile,
    asked: Sequence[RuntimeName] | None,
    installed: Mapping[str, str | None],
    pip: str | None = None,
) -> Race:
    """The race on a target.

    Args:
        profile: of the target.
        asked: the recipe's runtimes; None for the target's own alone.
        installed: the release of each runtime where the engines run, None where there is none.
        pip: how the attached device installs a package; None for this machine.

    Raises:
        RequestError: the target has no such runtime.
        MissingExtra: a runtime is named and missing on this machine.
        EnvironmentProblem: a runtime is named and missing on the device.
    """
    if asked is None:
        return Race((profile.runtime,))
    refuse_unknown_runtimes(profile, asked)
    for name in asked:
        if name != profile.runtime and installed.get(name) is None:
            raise _missing(profile, name, pip)
    first: list[RuntimeName] = [profile.runtime] if profile.runtime in asked else []
    return Race((*first, *(name for name in asked if name not in first)))


def precisions_of(
    profile: TargetProfile, runtimes: Sequence[RuntimeName], bf16: bool | None
) -> list[Precision]:
    """The profile's precisions that one of the runtimes computes in.

    Args:
        profile: of the target.
        runtimes: those of the race.
        bf16: whether the processor that runs the engines computes in BF16; None if unknown.
    """
    return [
        each
        for each in profile.precisions
        if any(each in PRECISIONS[name] for name in runtimes) and (bf16 or each != "bf16")
    ]


def refuse_unknown_runtimes(profile: TargetProfile, asked: Sequence[RuntimeName]) -> None:
    """Refuse runtimes that cannot run a target's engines.

    Raises:
        RequestError: there is one.
    """
    known = [profile.runtime, *profile.other_runtimes]
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise RequestError(
            f"The target {profile.name!r} has no engines of {' or '.join(unknown)}.",
            where="targets.runtimes",
            advice=f"It has those of {' and '.join(known)}.",
        )


def _missing(profile: TargetProfile, name: RuntimeName, pip: str | None) -> EnvironmentProblem:
    if pip is None:
        return MissingExtra(f"{RUNTIMES[name].title} for the target {profile.name!r}", name, name)
    return EnvironmentProblem(
        f"The target {profile.name!r} asks for {RUNTIMES[name].title}, which the device lacks.",
        where="targets.runtimes",
        advice=f"On the device, run: {_install(name, pip)}",
    )


def _install(name: RuntimeName, pip: str | None) -> str:
    return RUNTIMES[name].install if pip is None else f"{pip} {name}"


def installed_on(device: Mapping[str, Any], profile: TargetProfile) -> dict[str, str | None]:
    """The releases of a target's runtimes on an attached device, from its info."""
    return {name: device.get(name) for name in (profile.runtime, *profile.other_runtimes)}
