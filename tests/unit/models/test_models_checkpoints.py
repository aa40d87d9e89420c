"""Checkpoints as trainers write them: with options, averaged weights and prefixes; no code runs."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from timm.utils import CheckpointSaver, ModelEmaV3
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tmkd_deploy.errors import DataError
from tmkd_deploy.models import weights
from tmkd_deploy.models.checkpoint_file import UNKNOWN_NAMES_AT_MOST, read_checkpoint
from tmkd_deploy.models.classifier import create

MODEL, TINY = "resnet10t", {"channels": [8, 8, 8, 8], "stem_width": 8}


def classifier(classes=3, seed=0):
    torch.manual_seed(seed)
    return create(MODEL, classes, TINY, 32, scratch=True)[0]


def network(classes=3, seed=0):
    return classifier(classes, seed).network.backbone


class Options:
    """Something of a trainer's own that it pickles with the weights."""

    def __init__(self, **values):
        self.__dict__.update(values)


def options():
    return argparse.Namespace(
        model=MODEL, lr=0.1, output=Path("out"), metric=np.float64(0.5), own=Options(a=[1])
    )


def of_timm(path, model):
    """timm's own writer, as train.py calls it."""
    saver = CheckpointSaver(
        model, torch.optim.SGD(model.parameters(), 0.1), options(), checkpoint_dir=str(path.parent)
    )
    saver.save_checkpoint(3, metric=np.float64(0.5))
    (path.parent / "last.pth.tar").rename(path)


def of_timm_averaged(path, model):
    averaged = ModelEmaV3(model)
    other = network(seed=9)
    saver = CheckpointSaver(
        other,
        torch.optim.SGD(other.parameters(), 0.1),
        options(),
        model_ema=averaged,
        checkpoint_dir=str(path.parent),
    )
    saver.save_checkpoint(3)
    (path.parent / "last.pth.tar").rename(path)


def of_torchvision(path, model):
    """The layout of references/classification/train.py with --model-ema; it is no package."""
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    other = network(seed=9)
    checkpoint = {
        "model": other.state_dict(),
        "optimizer": torch.optim.SGD(other.parameters(), 0.1, momentum=0.9).state_dict(),
        "epoch": 3,
        "args": options(),
        "model_ema": averaged.state_dict(),
    }
    torch.save(checkpoint, path)


class Task(nn.Module):
    """A LightningModule's tensors: the model in an attribute, and those of a loss beside it."""

    def __init__(self, model):
        super().__init__()
        self.criterion = nn.CrossEntropyLoss(weight=torch.ones(3))
        self.model = model


def of_lightning(path, model):
    """The layout that Lightning 2 writes; it is not installed here."""
    checkpoint = {
        "epoch": 3,
        "global_step": 30,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": Task(model).state_dict(),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [torch.optim.AdamW(model.parameters()).state_dict()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1, "folder": Path("out"), "own": Options(a=[1])},
    }
    torch.save(checkpoint, path)


def of_ddp(path, model):
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    try:
        torch.save(nn.parallel.DistributedDataParallel(model).state_dict(), path)
    finally:
        torch.distributed.destroy_process_group()


def of_compile(path, model):
    torch.save(torch.compile(model).state_dict(), path)


def of_compiled_parts(path, model):
    model.layer1 = torch.compile(model.layer1)
    torch.save({"model_state_dict": nn.DataParallel(model).state_dict(), "epoch": 3}, path)


WRITERS = [
    of_timm,
    of_timm_averaged,
    of_torchvision,
    of_lightning,
    of_ddp,
    of_compile,
    of_compiled_parts,
]


@pytest.mark.parametrize("write", WRITERS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("classes", [3, 7])
def test_what_trainers_write_is_read(tmp_path, write, classes):
    given = network(classes)
    state = {name: tensor.clone() for name, tensor in given.state_dict().items()}
    write(tmp_path / "net.pth", given)
    found = classifier(3, seed=1)
    before = found.network.backbone.fc.weight.clone()
    weights.check_fit(found, MODEL, str(tmp_path / "net.pth"))
    weights.initialise(found, MODEL, str(tmp_path / "net.pth"))
    for name, tensor in found.network.original_state().items():
        if classes == 3 or not name.startswith("fc."):
            assert torch.equal(tensor, state[name]), name
    if classes == 3:
        assert weights.new_head(found) is None
    else:
        assert torch.equal(found.network.backbone.fc.weight, before)
        assert "fc, starts from random values: it is for 7 classes" in weights.new_head(found)


def test_the_one_of_several_models_that_fits_is_taken(tmp_path):
    student, large = network(), create(MODEL, 3, {}, 32, scratch=True)[0].network.backbone
    both = nn.ModuleDict({"teacher": large, "student": student})
    torch.save({"state_dict": both.state_dict()}, tmp_path / "net.pth")
    found = classifier(seed=1)
    weights.initialise(found, MODEL, str(tmp_path / "net.pth"))
    assert torch.equal(found.network.backbone.fc.weight, student.fc.weight)
    both["teacher"] = network(seed=2)
    torch.save({"state_dict": both.state_dict()}, tmp_path / "net.pth")
    with pytest.raises(DataError, match=r"several such models: 'teacher\.', 'student\.'"):
        weights.initialise(found, MODEL, str(tmp_path / "net.pth"))


class Own(nn.Linear):
    """A module of a class that only its author's program has."""


def run_advice(advice: str, folder: Path) -> None:
    code = advice.partition('python -c "')[2].rpartition('"')[0]
    given = "import test_models_checkpoints; " if "weights_only" in code else ""
    environment = {"PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([sys.executable, "-c", given + code], cwd=folder, check=True, env=environment)


@pytest.mark.parametrize("wrapping", [None, "model"])
def test_a_pickled_module_is_refused_with_the_line_that_converts_it(tmp_path, wrapping):
    module = nn.Sequential(Own(2, 3), nn.BatchNorm1d(3))
    torch.save({wrapping: module, "epoch": 1} if wrapping else module, tmp_path / "IN.pt")
    with pytest.raises(DataError, match="a pickled module and no state dictionary") as caught:
        read_checkpoint(tmp_path / "IN.pt")
    run_advice(caught.value.advice, tmp_path)
    assert torch.equal(read_checkpoint(tmp_path / "OUT.pt")["0.weight"], module[0].weight)


def test_torchscript_is_refused_with_the_line_that_converts_it(tmp_path):
    module = nn.Linear(2, 3)
    torch.jit.trace(module, torch.rand(1, 2)).save(str(tmp_path / "IN.pt"))
    with pytest.raises(DataError, match="TorchScript") as caught:
        read_checkpoint(tmp_path / "IN.pt")
    run_advice(caught.value.advice, tmp_path)
    assert torch.equal(read_checkpoint(tmp_path / "OUT.pt")["weight"], module.weight)


class Runs:
    """Runs a program when it is unpickled by a reader that allows it."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("call", [subprocess.check_call, exec, Path.touch, getattr])
def test_nothing_that_a_file_names_is_called(tmp_path, call):
    harm, path = tmp_path / "harm", tmp_path / "net.pth"
    arguments = {
        subprocess.check_call: (["touch", str(harm)],),
        exec: (f"open({str(harm)!r}, 'w')",),
        Path.touch: (harm,),
        getattr: (Path(harm), "touch"),
    }
    runs, allowed = Runs(call, *arguments[call]), set(torch.serialization.get_safe_globals())
    torch.save({"a": torch.ones(1), "b": runs}, path)
    with pytest.raises(DataError, match=r"plain dictionary of tensors|cannot be read"):
        read_checkpoint(path)
    torch.save({"model": {"a": torch.ones(1)}, "args": runs}, path)
    if call is not Path.touch:
        assert read_checkpoint(path)["a"] == 1
    else:  # pickled as what `getattr` returns, which is a placeholder: it is not called
        with pytest.raises(DataError, match="cannot be read"):
            read_checkpoint(path)
    assert not harm.exists()
    assert set(torch.serialization.get_safe_globals()) == allowed


def test_a_file_that_holds_itself_ends(tmp_path):
    state = {"a": torch.ones(1)}
    state["model"] = state
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(DataError, match="plain dictionary of tensors"):
        read_checkpoint(tmp_path / "net.pth")


def test_unknown_names_are_bounded(tmp_path):
    many = [type(f"C{n}", (Options,), {}) for n in range(UNKNOWN_NAMES_AT_MOST + 1)]
    for each in many:
        globals()[each.__name__] = each
    torch.save({"a": [each() for each in many]}, tmp_path / "net.pth")
    with pytest.raises(DataError, match="it names 501 classes"):
        read_checkpoint(tmp_path / "net.pth")
