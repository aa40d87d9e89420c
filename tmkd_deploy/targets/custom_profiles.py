"""Profiles of the user's own: the YAML files of the folder that `$TMKD_DEPLOY_TARGETS` names."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tmkd_deploy.errors import RequestError
from tmkd_deploy.suggestions import did_you_mean
from tmkd_deploy.targets.target_profile import TargetProfile
from tmkd_deploy.yaml_document import Document, dotted, parse

FOLDER = "TMKD_DEPLOY_TARGETS"
SHOW = "Start from one that fits: tmkd-deploy targets show jetson-orin-nano"


def files(taken: set[str]) -> dict[str, Path]:
    """The user's profiles by name, which is the file's; empty where the variable is not set.

    Raises:
        RequestError: there is no such folder, or a name is one of `taken`.
    """
    folder = os.environ.get(FOLDER)
    if not folder:
        return {}
    if not Path(folder).is_dir():
        raise RequestError(
            "The folder of your own target profiles does not exist.",
            where=f"${FOLDER}={folder}",
            advice="Make it, or unset the variable.",
        )
    found = {path.stem: path for path in sorted(Path(folder).glob("*.yaml"))}
    for name, path in found.items():
        if name in taken:
            raise RequestError(
                f"There is a target {name!r} already.",
                where=str(path),
                advice="Give the file and its `name` another name.",
            )
    return found


def read(path: Path) -> TargetProfile:
    """The checked profile in `path`.

    Raises:
        RequestError: it cannot be read or does not fit; file, line and key are told.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(
            f"The target profile cannot be read: {error}.",
            where=str(path),
            advice="Check its permissions, and save it as UTF-8.",
        ) from error
    document = parse(text, str(path))
    try:
        # Strict JSON: a quoted number is text, as in a recipe.
        profile = TargetProfile.model_validate_json(json.dumps(document.value), strict=True)
    except ValidationError as error:
        raise _refusal(error.errors()[0], document, path) from error
    if profile.name != path.stem:
        raise RequestError(
            f"The profile is called {profile.name!r} and its file {path.stem!r}.",
            where=f"{path}:{document.lines[('name',)]} (name)",
            advice="Give both the same name.",
        )
    return profile


def _refusal(details: ErrorDetails, document: Document, path: Path) -> RequestError:
    location = details["loc"]
    known = [location[:length] for length in range(len(location), 0, -1)]
    line = next((document.lines[place] for place in known if place in document.lines), None)
    where = f"{path}:{line}" if line else str(path)
    key = str(location[-1]) if location else ""
    if details["type"] == "extra_forbidden":
        problem = f'There is no key "{key}" in a target profile.'
        advice = did_you_mean(key, TargetProfile.model_fields)
    elif details["type"] == "missing":
        problem, advice = f'The key "{key}" is missing.', SHOW
    else:
        problem = f"This does not fit: {details['msg'].removeprefix('Value error, ')}."
        advice = SHOW
    return RequestError(
        problem, where=f"{where} ({dotted(location)})" if location else where, advice=advice
    )
