"""Streams two tracks of running speech with the keyword between them, and draws the keyword's probability over time."""

from pathlib import Path

import tyro

from kws_jax.command import command, heeds_quiet


@heeds_quiet
def main(
    out: Path,
    checkpoint: Path | None = None,
    results: Path | None = None,
    before: Path | None = None,
    keyword_clip: Path | None = None,
    after: Path | None = None,
    data: Path | None = None,
    speech: Path | None = None,
    keyword: str | None = None,
    threshold: float | None = None,
    smoothing: int | None = None,
    false_alarms_per_hour: float | None = None,
    quiet: bool = False,
) -> None:
    """Draws the demo; what is not named comes from the data folder, or is spoken by synthetic voices.

    Args:
        out: Picture to write; JSON of times and probabilities and the glued WAV file get its name too.
        checkpoint: A shipped file, or a folder of a model of one's own.
        results: Output folder of experiments.run to take a checkpoint from; without it, a shipped one.
        before: Recording before the keyword.
        keyword_clip: Recording of the keyword.
        after: Recording after the keyword.
        data: Folder laid out as Speech Commands, with the keyword by a testing speaker.
        speech: Folder of running speech, with two recordings of 10 to 20 s by testing speakers; without it, the tracks
            are spoken by synthetic voices.
        keyword: The word to spot; by default what the checkpoint says.
        threshold: Probability from which on the keyword is heard; by default what the checkpoint says, else 0.5.
        smoothing: Steps that the detector averages over; by default what the checkpoint says, else 1.
        false_alarms_per_hour: 0.2, 0.5, 1 or 2: takes the threshold that the checkpoint has for it.
        quiet: Say nothing but what is wrong.
    """
    # Seconds to import, which --help does not need.
    from experiments.streams import demo
    from experiments.study.records import RUNS

    path = checkpoint or demo.find_checkpoint(results / RUNS if results else demo.SHIPPED, keyword)
    detector = (threshold, smoothing, false_alarms_per_hour)
    demo.draw(out, path, (before, keyword_clip, after), data, speech, keyword, *detector)


if __name__ == "__main__":
    with command():
        tyro.cli(main, description=__doc__)
