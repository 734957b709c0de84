"""Streams a sound file with a checkpoint; the probabilities must be those of the environment that did so first.

python .ci/stream.py CHECKPOINT SOUND_FILE HEARD, where HEARD is written by the first and read by the second, which has
the wheel alone.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np

from kws_jax.checkpoint import load
from kws_jax.compiled import stream as compiled
from kws_jax.data.audio import read_audio
from kws_jax.model import fold_batch_norm
from kws_jax.streaming import StreamingKws

checkpoint, sound, heard = map(Path, sys.argv[1:])
config, variables = fold_batch_norm(*load(checkpoint)[:2])
stream = StreamingKws(variables["params"], config)
probabilities = np.concatenate([stream.push(read_audio(sound))[1], stream.flush()[1]])
assert probabilities.max() > 0.5, "the word is heard"
if compiled.compiler():
    in_c = compiled.StreamingKws(variables["params"], config)
    found = np.concatenate([in_c.push(read_audio(sound))[1], in_c.flush()[1]])
    np.testing.assert_allclose(found, probabilities, rtol=0, atol=5e-5)
assert not {"torch", "orbax", "scipy.signal", "tyro"} & sys.modules.keys(), "streaming starts quickly"
if heard.exists():
    assert not any(
        map(importlib.util.find_spec, ("torch", "torch_ref", "conversion", "experiments", "get_checkpoints"))
    )
    np.testing.assert_allclose(probabilities, np.load(heard), rtol=0, atol=1e-6)
    print(f"the wheel hears {checkpoint.parent.name} as the checkout does")
np.save(heard, probabilities)
