"""A GPU for which the host never has to wait: tensors that only claim to be on one.

torch's fake tensors have a device, shapes and types but no values. Reading a value, or a shape that
depends on one, raises, and so does mixing devices. Backward passes need a driver and do not run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

GPU = torch.device("cuda", 0)


class NoBlockingCopies(TorchDispatchMode):
    """Refuses copies between host and GPU for which the host waits."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = kwargs or {}
        name = func.name().partition(".")[0]
        if name == "aten::_to_copy" and kwargs.get("device") is not None:
            moved = args[0].device.type != torch.device(kwargs["device"]).type
            if moved and not kwargs.get("non_blocking"):
                raise AssertionError(f"{list(args[0].shape)} is copied while the host waits")
        crossing = name == "aten::copy_" and args[0].device.type != args[1].device.type
        if crossing and not (kwargs.get("non_blocking") or (len(args) > 2 and args[2])):
            raise AssertionError(f"{list(args[1].shape)} is copied while the host waits")
        return func(*args, **kwargs)


@contextlib.contextmanager
def emulated_gpu() -> Iterator[FakeTensorMode]:
    """Within it, tensors may be made on `GPU`; what runs there computes nothing."""
    with pytest.MonkeyPatch.context() as patch:
        # fake tensors cannot be pinned
        patch.setattr(Tensor, "pin_memory", lambda self: self)
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            yield mode
