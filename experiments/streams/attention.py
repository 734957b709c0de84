"""Where models listen: the attention of a teacher and its students over one clip, under the clip's log-mel."""

from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from jax import jit, nn
from jaxtyping import Float, Float32
from matplotlib.figure import Figure

from experiments.plots import AS_WRITTEN, COLOURS, DPI, check_picture, save
from kws_jax.checkpoint import describe, load
from kws_jax.config import SAMPLE_RATE, FrontendConfig
from kws_jax.data.audio import to_float
from kws_jax.data.corpus import load_corpus
from kws_jax.data.splits import split_official
from kws_jax.errors import UserError
from kws_jax.frontend import log_mel
from kws_jax.model import Crnn, frames_of
from kws_jax.training.losses import step_times


class Attention(NamedTuple):
    """Where a model listens in a clip.

    Attributes:
        name: Of the model.
        times: Middle of what each step sees, in seconds.
        width: Of what a step sees, in seconds.
        weights: Of the steps; they sum to 1.
        probability: That the clip is the keyword.
    """

    name: str
    times: Float[np.ndarray, "steps"]
    width: float
    weights: Float[np.ndarray, "steps"]
    probability: float


def draw(checkpoints: tuple[Path, ...], data: Path, out: Path, clip: int) -> None:
    """Draws a picture; see `experiments.attention`."""
    check_picture(out)
    if not checkpoints:
        raise UserError("name at least one checkpoint, such as checkpoints/happy/base.safetensors")
    keywords = {describe(path)[1].keyword for path in checkpoints}
    if len(keywords) != 1 or not isinstance(keyword := keywords.pop(), str):
        raise UserError(f"the checkpoints do not say one and the same keyword: {keywords}")
    corpus = load_corpus(data)
    testing = split_official(corpus).testing
    clips = testing[corpus.labels(keyword)[testing] == 1]
    if not 0 <= clip < len(clips):
        raise UserError(f"no clip {clip}: test speakers say {keyword!r} {len(clips)} times")
    waveform = to_float(np.asarray(corpus.waveforms[clips[clip]]))
    attentions = [attention_of(path, waveform) for path in checkpoints]
    save(attention_figure(waveform, attentions, f"“{keyword}”, {corpus.names[clips[clip]]}"), out)
    print(out)


def attention_of(checkpoint: Path, waveform: Float32[np.ndarray, "samples"]) -> Attention:
    """Runs a model over a clip."""
    config, variables, _ = load(checkpoint)
    run: Any = jit(lambda samples: Crnn(config).apply(variables, frames_of(variables, config, samples)))
    logits, weights = run(jnp.asarray(waveform)[None])
    times = np.asarray(step_times(config, weights.shape[1]))
    width = config.receptive_field / SAMPLE_RATE
    return Attention(checkpoint.stem, times, width, np.asarray(weights[0]), float(nn.softmax(logits)[0, 1]))


@mpl.rc_context(AS_WRITTEN)
def attention_figure(waveform: Float32[np.ndarray, "samples"], attentions: list[Attention], title: str) -> Figure:
    """The log-mel, and one strip a model below it, over the same time."""
    frontend = FrontendConfig()
    picture = np.asarray(log_mel(frontend, jnp.asarray(waveform)[None])[0]).T
    heights = [2.2, *[1.0] * len(attentions)]
    figure = Figure(figsize=(7, 1.1 * sum(heights) + 0.8), dpi=DPI, layout="constrained")
    top, *strips = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    hop = frontend.hop_length / SAMPLE_RATE
    extent = (-hop / 2, (picture.shape[1] - 0.5) * hop, -0.5, frontend.num_mels - 0.5)
    top.imshow(picture, origin="lower", aspect="auto", extent=extent, cmap="cividis", vmin=np.percentile(picture, 20))
    top.set(ylabel="mel band", title=title)
    highest = max(float(np.max(one.weights)) * len(one.weights) for one in attentions)
    for axes, one, colour in zip(strips, attentions, ("black", *COLOURS * len(attentions)), strict=False):
        relative = one.weights * len(one.weights)
        axes.fill_between(one.times, relative, color=colour, alpha=0.2, linewidth=0)
        axes.plot(one.times, relative, ".-", color=colour, linewidth=1.2)
        axes.axhline(1, color="0.6", linewidth=0.8, linestyle=":")
        about = f"{one.name}: {len(one.weights)} steps, each sees {1e3 * one.width:.0f} ms; p = {one.probability:.3f}"
        axes.set_title(about, fontsize=8, loc="left", pad=3)
        axes.set_ylim(0, 1.1 * highest)
        axes.tick_params(labelsize=8)
    figure.supylabel("attention x number of steps (1: all alike)", fontsize=8)
    strips[-1].set_xlabel("time (s); a weight stands in the middle of what its step sees")
    return figure
