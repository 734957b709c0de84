"""Streaming inference: the offline model, a block of samples at a time.

For every split of a waveform into blocks, the logits of `scan` followed by those of `flush` are the logits of the
offline model run over the whole waveform, each step attending over the trailing `max_window_length` steps:

    scan(samples) ++ flush() == offline(samples)

and a clip no longer than the window ends on the plain model's logits. Block k yields step k - config.warmup_blocks;
before step 0 the logits are NaN, since there is nothing to say. The state's shapes and types never change.
"""

from kws_jax.streaming.functions import GROUP, StreamState, flush, init_state, reset, scan, step
from kws_jax.streaming.stream import LONG, StreamingKws

__all__ = ["GROUP", "LONG", "StreamState", "StreamingKws", "flush", "init_state", "reset", "scan", "step"]
