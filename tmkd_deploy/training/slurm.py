"""Processes that Slurm's srun started, described in the variables that torchrun would set.

Source: https://slurm.schedmd.com/srun.html, "Output environment variables".
"""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping

from tmkd_deploy.errors import EnvironmentProblem

_PORT = "29500"  # torchrun's
_ADDRESS = 'MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)'


def adopt_srun(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set WORLD_SIZE and the like from what srun set, unless a launcher has set them.

    A batch script that calls no srun has one process, however many tasks its job has.

    Raises:
        EnvironmentProblem: the processes run on several machines, and none is named as the first.
    """
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "1")
    if "WORLD_SIZE" in environment or not tasks.isdecimal() or int(tasks) == 1:
        return
    machines = environment.get("SLURM_STEP_NUM_NODES", "1")
    if "MASTER_ADDR" not in environment and machines != "1":
        raise EnvironmentProblem(
            f"srun started {tasks} processes on {machines} machines, and MASTER_ADDR is not set.",
            advice=f"Put this before srun: export {_ADDRESS}",
        )
    # such as 4, or 4(x2),3 for two machines with four tasks and one with three
    per_machine = re.match(r"\d+", environment.get("SLURM_STEP_TASKS_PER_NODE", tasks))
    defaults = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _PORT}
    environment.update(
        **{name: value for name, value in defaults.items() if name not in environment},
        WORLD_SIZE=tasks,
        RANK=environment["SLURM_PROCID"],
        LOCAL_RANK=environment["SLURM_LOCALID"],
        LOCAL_WORLD_SIZE=per_machine[0] if per_machine else tasks,
    )
