"""Two processes over gloo against one: batch norms, losses, gradients and complete trainings."""

import copy
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing

from tmkd_deploy.distill.losses.total import StudentLoss, TeacherOutputs
from tmkd_deploy.distill.student import train_student
from tmkd_deploy.errors import EnvironmentProblem
from tmkd_deploy.events import SilentEvents
from tmkd_deploy.models import weights
from tmkd_deploy.models.classifier import create
from tmkd_deploy.training import distributed
from tmkd_deploy.training.batches import TrainingImages
from tmkd_deploy.training.best_epoch import Validation
from tmkd_deploy.training.checkpoint import Checkpoints
from tmkd_deploy.training.distributed import BatchShard
from tmkd_deploy.training.schedule import Schedule
from tmkd_deploy.training.slurm import adopt_srun
from tmkd_deploy.training.sync_batchnorm import synchronised_batch_norms
from tmkd_deploy.training.trainer_config import TrainerConfig

CPU = torch.device("cpu")


class Settings:
    ce_weight, logit_loss, dkd_beta, alpha, temperature = 1.0, "dist", 8.0, 1.0, 4.0
    beta, gamma, contrastive_temperature, teacher_warmup_epochs = 1.0, 0.1, 0.07, 0


class Kept:
    keep, patience, ema_decay = "best", 2, 0.9


class Network(torch.nn.Module):
    """Convolution, batch norm and two outputs, in float64 to rule out rounding differences."""

    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 6, 3)
        self.norm = torch.nn.BatchNorm2d(6)
        self.last = torch.nn.Linear(6, 4)

    def forward(self, images):
        features = torch.relu(self.norm(self.convolution(images.double()))).mean(dim=(2, 3))
        return self.last(features), features


class IndexedOutputs:
    """Teacher outputs that are a function of the image's index."""

    def for_batch(self, batch):
        numbers = batch.indices.double().view(-1, 1)
        return TeacherOutputs(
            torch.sin(numbers + torch.arange(4)), torch.cos(numbers + torch.arange(5))
        )


class Interrupting(IndexedOutputs):
    """Sends SIGTERM to the first process alone, in its fifth step."""

    asked = 0

    def for_batch(self, batch):
        self.asked += 1
        if self.asked == 5 and dist.get_rank() == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().for_batch(batch)


class Doubled(torch.nn.Module):
    """A timm network, whose batch norms include activations, in float64."""

    def __init__(self):
        super().__init__()
        small = {"channels": [4, 4, 8, 8], "stem_width": 4}
        self.network, self.width = create("resnet10t", 4, small, 16, scratch=True)

    def forward(self, images):
        return self.network(images.double())


def trained(
    batch_size, images=22, timm=False, validated=False, mix="none", outputs=None, config=None
):
    torch.manual_seed(0)
    network = (Doubled() if timm else Network()).double()
    texts = torch.randn(4, 3).double()
    loss = StudentLoss(Settings(), network.width if timm else 6, 5, texts).double()
    random = np.random.default_rng(0)
    data = TrainingImages(
        random.integers(0, 256, (images, 16, 16, 3), dtype=np.uint8),
        torch.arange(images) % 4,
        "crop",
        1,
        mix=mix,
    )
    schedule = Schedule(3, batch_size, 0.05, 1e-3, 0, "sgd", "multistep")
    shown = random.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    validation = Validation(network, shown, np.arange(6) % 4, Kept()) if validated else None
    train_student(
        network,
        loss,
        data,
        outputs or IndexedOutputs(),
        schedule,
        CPU,
        SilentEvents(),
        "Test",
        validation=validation,
        trainer_config=config,
    )
    return {**network.state_dict(), **loss.state_dict(prefix="loss.")}


def normalised(norm, values, shard):
    norm = copy.deepcopy(norm)
    values = values.clone().requires_grad_()
    with synchronised_batch_norms(norm) as synchronisation:
        synchronisation.enabled = True
        output = shard.gather(norm(values[shard.rows]))
    (output * torch.linspace(-1, 1, output.numel()).double().view(output.shape)).sum().backward()
    gradient = values.grad
    distributed.average_gradients(list(norm.parameters()))
    if not shard.is_replicated:
        dist.all_reduce(gradient)
        gradient /= 2
    return output.detach(), gradient, norm.weight.grad, norm.bias.grad, *norm.buffers()


def norm_and_values():
    random = torch.Generator().manual_seed(4)
    norm = torch.nn.BatchNorm2d(5).double()
    with torch.no_grad():
        norm.weight.copy_(torch.rand(5, generator=random) + 0.5)
        norm.bias.copy_(torch.rand(5, generator=random))
    values = torch.randn(7, 5, 3, 2, generator=random).double() * 3 + 40
    return norm, values


def interrupted(folder):
    """The steps in the checkpoint of a training that one process was told to stop; None if not."""
    checkpoints = Checkpoints(Path(folder), "distill", "f" * 64, writes=dist.get_rank() == 0)
    try:
        trained(2, outputs=Interrupting(), config=TrainerConfig(checkpoints=checkpoints))
    except KeyboardInterrupt:
        dist.barrier()
        return checkpoints.for_training("Test").read()["steps_done"]
    return None


def saved(folder):
    """Whether this process has written the file."""
    file = Path(folder) / f"rank-{dist.get_rank()}.safetensors"
    weights.write_tensors({"tensor": torch.ones(1)}, file)
    return file.exists()


def _work(rank, port, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    found = {
        "norm": normalised(*norm_and_values(), BatchShard.of(7)),
        "even": trained(8),
        # batches of 7, 7, 7 and a last one of 1, which is dropped
        "uneven": trained(7),
        # a batch of one image is dropped, so none is smaller than the number of processes
        "small": trained(10, images=12),
        "timm": trained(7, timm=True),
        "validated": trained(8, validated=True),
        "mixed": trained(7, mix="cutmix"),
        "interrupted": interrupted(folder),
        "saved": saved(folder),
        "rows": [BatchShard.of(total).rows for total in (1, 2, 5, 8)],
    }
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(_work, (port, str(folder)), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def test_shards_are_contiguous_and_cover_the_batch(by_two):
    assert [found["rows"] for found in by_two] == [
        [slice(0, 1), slice(0, 1), slice(0, 2), slice(0, 4)],
        [slice(0, 1), slice(1, 2), slice(2, 5), slice(4, 8)],
    ]


def test_a_signal_to_one_process_stops_all_at_the_same_step(by_two):
    assert [found["interrupted"] for found in by_two] == [10, 10]


def test_only_the_first_process_writes_weights(by_two):
    assert [found["saved"] for found in by_two] == [True, False]


def test_batch_norms_use_statistics_of_the_whole_batch(by_two):
    norm, values = norm_and_values()
    expected = normalised(norm, values, BatchShard.of(7))
    for found in by_two:
        for one, other in zip(expected, found["norm"], strict=True):
            assert torch.allclose(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("even", (8,)),
        ("uneven", (7,)),
        ("small", (10, 12)),
        ("timm", (7, 22, True)),
        ("validated", (8, 22, False, True)),
        ("mixed", (7, 22, False, False, "cutmix")),
    ],
)
def test_two_processes_train_the_same_model_as_one(by_two, name, arguments):
    """With DIST, whose intra-class term compares the whole batch, and with crops."""
    expected = trained(*arguments)
    assert all(torch.equal(by_two[0][name][key], by_two[1][name][key]) for key in expected)
    for key, value in expected.items():
        assert torch.allclose(value, by_two[0][name][key], rtol=1e-7, atol=1e-9), key


QUESTION = """
from tmkd_deploy.training.process_group import process_group
with process_group() as group:
    print(group.size, group.is_main_process, group.broadcast(lambda: group.is_main_process))
"""


def test_processes_that_srun_started_find_each_other():
    """With the variables of Slurm's documentation; there is no Slurm here."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    step = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MASTER")},
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "MASTER_PORT": str(port),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", QUESTION],
            env={**step, "SLURM_PROCID": str(number), "SLURM_LOCALID": str(number)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    said = [process.communicate(timeout=300)[0].split() for process in processes]
    assert said == [["2", "True", "True"], ["2", "False", "True"]]


def test_what_srun_sets_is_taken_over_only_within_its_steps():
    step = {
        "SLURM_STEP_NUM_TASKS": "7",
        "SLURM_STEP_NUM_NODES": "3",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2),3",
        "SLURM_PROCID": "5",
        "SLURM_LOCALID": "1",
    }
    with pytest.raises(EnvironmentProblem, match="7 processes on 3 machines") as refused:
        adopt_srun(dict(step))
    assert "export MASTER_ADDR=" in refused.value.advice
    found = {**step, "MASTER_ADDR": "node1"}
    adopt_srun(found)
    expected = {"WORLD_SIZE": "7", "RANK": "5", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert expected.items() <= found.items() and found["MASTER_PORT"] == "29500"
    batch_script = {"SLURM_NTASKS": "7", "SLURM_PROCID": "0"}
    launched = {**step, "WORLD_SIZE": "2"}
    alone = {**step, "SLURM_STEP_NUM_TASKS": "1"}
    for given in (batch_script, launched, alone):
        before = dict(given)
        adopt_srun(given)
        assert given == before


def test_a_single_process_is_not_synchronised():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    with synchronised_batch_norms(model):
        assert "forward" not in vars(model[1])
    local = torch.rand(3, 2)
    assert BatchShard.of(3).gather(local) is local
