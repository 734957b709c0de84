# %% [markdown]
# # The annotated stream
#
# A keyword spotter learns from clips of one second, and then hears a microphone that never ends. To run it anew on the
# last second at every step would be the same work a dozen times over. `kws_jax` does it once, with a state of constant
# size and two pure functions, `init_state` and `step`. Every claim on this page is asserted, and a test runs it.

# %%
import tempfile
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from kws_jax import checkpoint, streaming
from kws_jax.config import SAMPLE_RATE
from kws_jax.data.audio import read_audio
from kws_jax.data.synthetic import generate_demo_tracks
from kws_jax.detector import Detector
from kws_jax.errors import UserError
from kws_jax.model import Crnn, fold_batch_norm, frames_of

checkpoints = next(path for folder in (".", "..") if (path := Path(folder, "checkpoints")).is_dir())
config, variables, about = checkpoint.load(checkpoints / "happy" / "student_21x_stream_int8.safetensors")
config, variables = fold_batch_norm(config, variables)
params = variables["params"]

# %% [markdown]
# ## What is heard
#
# Running speech, the word, and running speech again, by three synthetic voices; noise where there is no espeak-ng.

# %%
try:
    with tempfile.TemporaryDirectory() as folder:
        tracks = generate_demo_tracks(Path(folder, "demo"), about.keyword)
        parts = [read_audio(tracks / f"{name}.wav") for name in ("before", "keyword", "after")]
except UserError:
    noise = np.random.default_rng(0)
    parts = [noise.normal(0, 0.05, seconds * SAMPLE_RATE).astype(np.float32) for seconds in (13, 1, 13)]
track = np.concatenate(parts)
start, end = len(parts[0]), len(parts[0]) + len(parts[1])

# %% [markdown]
# Frames lie $H$ samples apart. Each is the power under a Hann window $w$, summed in triangular mel bands $F_m$:
#
# $$E_{t,m} = \sum_f F_m(f)\,\Big|\sum_n w_n\, s_{tH+n}\, e^{-2\pi i f n / N}\Big|^2$$
#
# They are centred, and the track is mirrored at both ends for the first and the last. The base hears their logarithm;
# this model each band over its own running mean (PCEN), so that steady noise is gone, but for constants:
#
# $$M_t = (1 - s)\, M_{t-1} + s\, E_t, \qquad x_t = \Big(\frac{E_t}{M_t} + d\Big)^r - d^r$$

# %%
heard = np.asarray(frames_of(variables, config, jnp.asarray(track)[None])[0])
assert heard.shape == (1 + len(track) // config.frontend.hop_length, config.frontend.num_mels)

# %% [markdown]
# ## The model
#
# A convolution makes one *step* $c_t$ of a few hundred milliseconds, every `block_size` samples. A GRU carries on from
# step to step, $h_t = \mathrm{GRU}(h_{t-1}, c_t)$. Attention weighs its last `max_window_length` outputs by their
# energies, $e_t = v^\top \tanh(W h_t + b)$, and a linear layer makes logits of their mean:
#
# $$y_t = A \sum_{u=t-L+1}^{t} \alpha_{t,u}\, h_u + a, \qquad \alpha_{t,u} = \frac{\exp e_u}{\sum_{u'} \exp e_{u'}}$$
#
# `every_step` computes all $y_t$ of a whole track. It is what a stream must equal.

# %%
every_step = jax.jit(partial(Crnn(config).apply, method="every_step"))


def offline(waveform):
    """Logits of every step, (steps, classes)."""
    return np.asarray(every_step(variables, frames_of(variables, config, jnp.asarray(waveform)[None]))[0])


word = track[start - SAMPLE_RATE : end + SAMPLE_RATE + 77]  # about three seconds, no whole number of blocks
expected = offline(word)
num_blocks, tail_length = divmod(len(word), config.block_size)
blocks = jnp.asarray(word[: num_blocks * config.block_size].reshape(num_blocks, 1, config.block_size))
print(f"{len(word)} samples are {num_blocks} blocks of {config.block_size}, and {tail_length}: {len(expected)} steps")

# %% [markdown]
# ## The equation
#
# $$\texttt{scan}(s)\; \mathbin{+\!\!+}\; \texttt{flush}() = \texttt{offline}(s)$$
#
# for every split of $s$ into blocks. It holds because the state has all that coming steps need of the past:
#
# | part | remembers | suffices because |
# |---|---|---|
# | `frontend.samples` | the last samples | the next frame's window reaches back no further |
# | `frontend.blocks` | blocks so far | it tells the first block, whose left edge is mirrored, and when step 0 comes |
# | `smoother` | PCEN's running means; nothing of a log-mel | a running mean needs no more of its past |
# | `frames` | frames | the next kernel overlaps the last one by kernel - stride frames |
# | `hidden` | the GRU's hidden state | it is all that a GRU knows of its past |
# | `votes` | $A h_u + a$ in the attention's window | $A$ of a mean is the mean of $A h_u$ |
# | `energies` | their $e_u$ | a softmax needs no more; $e = -\infty$ is a step not heard yet |

# %%
state = streaming.init_state(config, batch_size=1)
shapes = jax.tree.map(jnp.shape, state)
print(*(f"{name}: {shape}" for name, shape in shapes._asdict().items()), sep="\n")
print(sum(leaf.nbytes for leaf in jax.tree.leaves(state)), "bytes, however long the stream is")

# %% [markdown]
# ## `step`: a block in, a step's logits out
#
# The first blocks only fill the kernel: their logits are NaN. From then on block $k$ yields step $k$ - `warmup_blocks`.

# %%
step, by_step = jax.jit(partial(streaming.step, params, config)), []
for samples in blocks:
    state, logits = step(state, samples)
    by_step.append(np.asarray(logits[0]))
by_step, warmup = np.array(by_step), config.warmup_blocks
close = partial(np.testing.assert_allclose, rtol=0, atol=1e-4)  # logits in float32, added up in another order
assert np.isnan(by_step[:warmup]).all()
close(by_step[warmup:], expected[: num_blocks - warmup])
assert jax.tree.map(jnp.shape, state) == shapes

# %% [markdown]
# ## `scan`: many blocks at once
#
# The same function of the same state. Only the GRU has to wait for itself; all else sees many steps at once.

# %%
scan = jax.jit(partial(streaming.scan, params, config))
after_scan, by_scan = scan(streaming.init_state(config, 1), blocks.reshape(1, -1))
jax.tree.map(close, after_scan, state)
close(by_scan[0], by_step)

# %% [markdown]
# ## `flush`: the right edge
#
# The last frames see the mirrored end, and only `flush` knows that the end has come. It yields the steps that waited
# for it, NaN where there is none, and reads no sample that does not exist.

# %%
tail = np.pad(word[-tail_length:], (0, config.block_size - tail_length), constant_values=np.nan)[None]
flush = jax.jit(partial(streaming.flush, params, config))
flushed = np.asarray(flush(state, tail, tail_length)[0])
flushed = flushed[~np.isnan(flushed[:, 0])]
close(np.concatenate([by_step[warmup:], flushed]), expected)
print(f"scan yields {num_blocks - warmup} steps, flush {len(flushed)}")

# %% [markdown]
# ## What follows
#
# **The future changes no past output.** `step` is never given it, and `scan`, which is, keeps to it bit by bit.

# %%
cut = num_blocks // 2
_, spoilt = scan(streaming.init_state(config, 1), blocks.at[cut:].set(1.0).reshape(1, -1))
assert np.array_equal(spoilt[0, :cut], by_scan[0, :cut], equal_nan=True)
assert not np.allclose(spoilt[0, cut:], by_scan[0, cut:])

# %% [markdown]
# **Streams of a batch are strangers.** `reset` starts one anew and leaves the others as they are.

# %%
both, _ = scan(streaming.init_state(config, 2), jnp.tile(blocks[:cut].reshape(1, -1), (2, 1)))
both = streaming.reset(config, both, jnp.array([False, True]))
_, after = scan(both, jnp.stack([blocks[cut:].ravel(), blocks[:-cut].ravel()]))
close(after, jnp.stack([by_scan[0, cut:], by_scan[0, :-cut]]))

# %% [markdown]
# **Any chunking will do.** `StreamingKws` takes what a microphone gives, and keeps what is no whole block.

# %%
stream = streaming.StreamingKws(params, config)
chunks = np.split(word, np.sort(np.random.default_rng(0).integers(0, len(word), 9)))
probabilities = np.concatenate([*(stream.push(chunk)[1] for chunk in chunks), stream.flush()[1]])
close(probabilities, jax.nn.softmax(expected)[:, 1])

# %% [markdown]
# ## Listening
#
# A detector averages a few probabilities, triggers where their mean rises to the threshold, and rests for a second.
# Both numbers come with the checkpoint, chosen on validation speakers, for half a false alarm an hour. The steps of
# `flush` go to the detector like all others: a word may be the last thing that is heard.

# %%
detector = Detector(about.detector(config))
pieces = [stream.push(chunk) for chunk in np.array_split(track, len(track) // (SAMPLE_RATE // 10))]
pieces.append(stream.flush())
found = [detection for piece in pieces for detection in detector.push(*piece)]
times, probabilities = (np.concatenate(column) for column in zip(*pieces, strict=True))
close(probabilities, jax.nn.softmax(offline(track))[:, 1])
said = (start / SAMPLE_RATE, end / SAMPLE_RATE)
for time, score in found:
    print(f"{about.keyword!r} is said at {said[0]:.2f} to {said[1]:.2f} s and heard at {time:.2f} s: {score:.3f}")

# %%
figure, (top, bottom) = plt.subplots(2, 1, figsize=(9, 4), dpi=72, sharex=True, layout="constrained")
top.axvspan(*said, color="#E69F00", alpha=0.35, label=f"“{about.keyword}” is said")
top.plot(times, probabilities, color="#0072B2")
top.plot([time for time, _ in found], [score for _, score in found], "v", color="#D55E00", label="detection")
top.axhline(detector.config.threshold, color="0.3", linestyle="--", linewidth=1, label="threshold")
top.set(ylim=(-0.02, 1.05), ylabel="probability")
top.legend(loc="center right")
bottom.imshow(heard.T, origin="lower", aspect="auto", extent=(0, len(track) / SAMPLE_RATE, 0, heard.shape[1]))
bottom.set(xlabel="time (s)", ylabel="mel band")
figure.align_ylabels()
