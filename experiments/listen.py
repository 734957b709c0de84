"""Listens for keywords and writes a line of JSON for each detection, as it happens.

A line is {"time": 12.35, "keyword": "happy", "probability": 0.981}: seconds of audio up to the end of what decided, the
keyword, and the smoothed probability. The exit status is 0 where the audio ends, and also where the reader of the lines
goes away, which is noticed at the next line; 130 on Ctrl-C, as shells expect of what that ended; 1, with one line on
stderr, where something is wrong.

What a pipe may bring, each with | python -m experiments.listen - --checkpoint FILE behind it:

  arecord -q -f S16_LE -r 16000 -c 1
  ffmpeg -loglevel error -i ANYTHING -f wav -
  sox -q ANYTHING -t wav -
  parec --rate 48000 --channels 2 --format s16le     (then also --rate 48000 --channels 2)
"""

from collections.abc import Sequence
from pathlib import Path

import tyro
from tyro.conf import Positional

from kws_jax.command import command
from kws_jax.config import REFRACTORY, SAMPLE_RATE
from kws_jax.errors import UserError


def listen(
    source: Positional[str | None] = None,
    *,
    checkpoint: tuple[Path, ...] = (),
    microphone: bool = False,
    device: str | None = None,
    list_devices: bool = False,
    rate: int | None = None,
    channels: int | None = None,
    encoding: str | None = None,
    threshold: float | None = None,
    smoothing: int | None = None,
    false_alarms_per_hour: float | None = None,
    refractory: float = REFRACTORY,
    save: Path | None = None,
    plot: Path | None = None,
    level: bool = False,
    quiet: bool = False,
) -> None:
    """Streams audio through checkpoints.

    Args:
        source: A sound file, or - for standard input: a WAV as it comes, other files once they end, or raw PCM.
        checkpoint: The models, one of each keyword: shipped files, or folders of one's own. What comes last is the
            source, where no other is named.
        microphone: Listen to a microphone; needs the extra "microphone".
        device: Which microphone: its number or a part of its name; the system's default.
        list_devices: Say which microphones there are, and no more.
        rate: Of raw PCM on standard input, in Hz; 16000.
        channels: Of raw PCM; 1.
        encoding: Of raw PCM: s16le, s16be, s24le, s24be, s32le, s32be, f32le, f32be, f64le, f64be or u8, which are
            integers or floats, their bits, and which byte comes first; s16le.
        threshold: Probability from which on a word is the keyword; the checkpoint's own, else 0.5.
        smoothing: Steps that the probability is averaged over; by default what the checkpoint says, else 1.
        false_alarms_per_hour: 0.2, 0.5, 1 or 2: takes the threshold that the checkpoint has for it.
        refractory: Seconds after a detection in which there is no other.
        save: Folder for a WAV file of the two seconds before each detection.
        plot: Picture to draw at the end, of the probabilities of the last ten minutes.
        level: Show the level and the probabilities as they are, where stderr is a terminal.
        quiet: Say nothing on stderr but what is wrong.
    """
    if list_devices:
        from kws_jax.data.microphone import microphones

        print("\n".join(microphones()) or "no microphones")
        return
    if source is None and not microphone and len(checkpoint) > 1:
        *checkpoint_paths, last = checkpoint
        checkpoint, source = tuple(checkpoint_paths), str(last)
    if not checkpoint:
        raise UserError("name a model with --checkpoint: a file in checkpoints/, or a folder of one's own")
    # What follows takes seconds to import, which --help does not need; and a source that is not there is said at once.
    from kws_jax.data.inputs import open_source
    from kws_jax.data.pipes import Pcm

    is_raw = (rate, channels, encoding) != (None, None, None)
    raw = Pcm(SAMPLE_RATE if rate is None else rate, 1 if channels is None else channels, encoding or "s16le")
    chunks = open_source(source, microphone, device, raw if is_raw else None)
    from experiments.streams import listening

    rule = listening.Rule(threshold, smoothing, false_alarms_per_hour, refractory)
    listening.listen(chunks, checkpoint, rule, listening.Wanted(save, plot, level, quiet))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    with command():
        tyro.cli(listen, prog="python -m experiments.listen", description=__doc__, args=arguments)


if __name__ == "__main__":
    main()
