"""What a process with several devices does, and how a test starts it: the devices are made when JAX begins."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from kws_jax.streaming import many
from kws_jax.training.losses import Teacher
from kws_jax.training.train import train
from tests.helpers.models import PCEN, noise, random_model, random_variables
from tests.helpers.toy_training import CONFIG, RECIPE, TONES, draw

TAUGHT = replace(RECIPE, epochs=3, teacher_weight=0.5, similarity_weight=1.0)
STREAMS, BLOCKS = 8 * (many.TILE + 2), 3  # of each of eight devices, a tile and some more


def trained(folder: Path, mesh: Mesh | None) -> list[np.ndarray]:
    """Weights after a training by batches whose clips matter to one another: statistics, and their likeness."""
    folder.mkdir(exist_ok=True)
    teacher = Teacher(CONFIG, random_model(CONFIG, 5))
    variables = train(CONFIG, TAUGHT, TONES, draw, 0, teacher, folder / "log.jsonl", mesh=mesh)[1]
    return [np.asarray(leaf) for leaf in jax.tree.leaves(variables)]


def streamed(mesh: Mesh | None) -> list[np.ndarray]:
    """Logits of streams, some of which start anew on the way."""
    step, state = many.compiled_step(PCEN, mesh), many.init_state(PCEN, STREAMS, mesh)
    params, rng, logits = random_variables(PCEN)["params"], np.random.default_rng(0), []
    for number in range(PCEN.warmup_blocks + BLOCKS):
        is_new = rng.random(STREAMS) < 0.2
        state, of_step = step(params, state, jnp.asarray(noise(number, STREAMS, PCEN.block_size)), is_new)
        logits.append(np.asarray(of_step))
    return logits


def in_processes(folder: Path, devices: int, processes: int = 1) -> None:
    """Runs this file with so many devices in each process, all of them one training's or one server's."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags, "TQDM_DISABLE": "1"}
    command = [sys.executable, "-m", "tests.helpers.many_devices", str(folder), str(processes)]
    started = [
        subprocess.Popen([*command, str(number)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for number in range(processes)
    ]
    said = [process.communicate(timeout=300)[0].decode() for process in started]
    assert not any(process.returncode for process in started), "\n".join(said)


def main(folder: Path, processes: int, number: int) -> None:
    """What each process does."""
    if processes > 1:
        jax.distributed.initialize(f"127.0.0.1:{(folder / 'port').read_text()}", processes, number)
    mesh = jax.make_mesh((jax.device_count(),), ("rows",))  # with axes of JAX's own default type
    folder = folder / str(number)
    np.savez(folder.with_suffix(".trained.npz"), *trained(folder, mesh))
    if processes == 1:
        np.savez(folder.with_suffix(".streamed.npz"), *streamed(mesh))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
