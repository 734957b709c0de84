"""The toy model's tensors, and what a checkpoint of any kind is read as."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from conversion.files import load
from kws_jax.checkpoint import HEADER_KEY
from kws_jax.config import CrnnConfig
from kws_jax.state_dict import from_variables
from tests.helpers.models import TOY, random_variables

STATE = from_variables(random_variables(TOY), TOY)
TENSORS = {key: torch.from_numpy(array) for key, array in STATE.items()}


def assert_holds(path: Path, expected: dict[str, Any], known: CrnnConfig = TOY, **options: Any) -> None:
    """That a file is read as a model of these numbers, bit for bit."""
    config, variables, _ = load(path, known, **options)
    assert config == known
    found = from_variables(variables, config)
    assert found.keys() == expected.keys()
    for key, array in found.items():
        assert array.tobytes() == torch.as_tensor(expected[key]).float().numpy().tobytes(), key


def write_shipped(path: Path, tensors: dict[str, np.ndarray], config: dict[str, Any], about: dict[str, Any]) -> None:
    """A file as shipped ones are, whatever its header says."""
    save_file(tensors, path, {HEADER_KEY: json.dumps({"config": config, "about": about})})
