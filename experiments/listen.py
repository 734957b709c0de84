"""Listens for the keyword and writes a line of JSON for each detection, as it happens.

A line is {"time": 12.35, "probability": 0.981}: seconds of audio up to the end of what decided, and the smoothed
probability. The exit status is 0 where the audio ends, and also where the reader of the lines goes away, which is
noticed at the next line; 130 on Ctrl-C, as shells expect of what that ended; 1, with one line on stderr, where
something is wrong.
"""

from collections.abc import Sequence
from pathlib import Path

import tyro
from tyro.conf import Positional

from kws_jax.command import command
from kws_jax.config import REFRACTORY


def listen(
    source: Positional[str | None] = None,
    *,
    checkpoint: Path,
    microphone: bool = False,
    threshold: float | None = None,
    smoothing: int | None = None,
    false_alarms_per_hour: float | None = None,
    refractory: float = REFRACTORY,
) -> None:
    """Streams audio through a checkpoint.

    Args:
        source: A sound file, or - for raw PCM on standard input: 16 bits little-endian, one channel, 16 kHz.
        checkpoint: The model: a shipped file, or a folder of one's own.
        microphone: Listen to the default microphone; needs the extra "microphone".
        threshold: Probability from which on a word is the keyword; the checkpoint's own, else 0.5.
        smoothing: Steps that the probability is averaged over; by default what the checkpoint says, else 1.
        false_alarms_per_hour: 0.2, 0.5, 1 or 2: takes the threshold that the checkpoint has for it.
        refractory: Seconds after a detection in which there is no other.
    """
    from experiments.streams import listening  # seconds to import, which --help does not need

    listening.listen(source, checkpoint, microphone, threshold, smoothing, false_alarms_per_hour, refractory)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    with command():
        tyro.cli(listen, prog="python -m experiments.listen", description=__doc__, args=arguments)


if __name__ == "__main__":
    main()
