"""The weights that timm provides: from the local cache, or from the network if it answers soon."""

from __future__ import annotations

from typing import Any

import huggingface_hub
import timm
from huggingface_hub import constants
from torch import Tensor

from tmkd_deploy.errors import DataError
from tmkd_deploy.models.reachable import obstacle

_FILES = ("model.safetensors", "pytorch_model.bin")
_SECONDS = 8.0  # for a first answer; the hub's client alone would retry for a minute


def has_pretrained(model: str) -> bool:
    """Whether timm lists weights for `model`."""
    return bool(timm.models.is_model_pretrained(model))


def pretrained_state(model: str) -> dict[str, Tensor]:
    """The state dictionary that timm publishes for `model`, its head included.

    What was downloaded before is used without asking the network.

    Raises:
        DataError: it is not in the cache and cannot be downloaded; without a network, within
            seconds.
    """
    # a model without weights has no such configuration
    config = timm.get_pretrained_cfg(model) if has_pretrained(model) else None
    given: dict[str, Any] = {}
    if config is not None and config.hf_hub_id:
        cached = _cached(config)
        if cached:
            given["pretrained_cfg_overlay"] = {"file": cached}
        elif why := _obstacle(config):
            raise _missing(model, why)
    try:
        return dict(timm.create_model(model, pretrained=True, **given).state_dict())
    except Exception as error:  # timm lets every exception of the hub client through
        raise _missing(model, str(error)) from error


def _cached(config: Any) -> str | None:
    """The file of these weights in the hub's cache."""
    if config.custom_load:  # its file has a format of its own
        return None
    repository, revision, names = _place(config)
    for name in names:
        found = huggingface_hub.try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(found, str):
            return found
    return None


def _obstacle(config: Any) -> str | None:
    """Why the hub does not provide these weights now; None if it does.

    The client's download retries for a minute, so its server is asked once, without retries.
    """
    repository, revision, names = _place(config)

    def ask() -> None:
        for number, name in enumerate(names, start=1):
            url = huggingface_hub.hf_hub_url(repository, name, revision=revision)
            try:
                huggingface_hub.get_hf_file_metadata(url, timeout=_SECONDS)
                return
            except Exception:
                if number == len(names):
                    raise

    return obstacle(ask, constants.ENDPOINT, _SECONDS)


def _place(config: Any) -> tuple[str, str | None, tuple[str, ...]]:
    """The repository, the revision, and the names that the file may have."""
    repository, _, revision = config.hf_hub_id.partition("@")
    return (
        repository,
        revision or None,
        (config.hf_hub_filename,) if config.hf_hub_filename else _FILES,
    )


def _missing(model: str, why: str) -> DataError:
    return DataError(
        f"The pretrained weights of {model!r} cannot be downloaded: {why.rstrip('.')}.",
        advice="Check the network connection, or use a downloaded checkpoint file.",
    )
