"""An embedded corpus in the Speech Commands layout, spoken by espeak-ng, and running speech for the streaming demo.

Everything is drawn from seeds, in one order, in a process of its own: the same arguments give the same bytes.
"""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from jaxtyping import Float, Float32
from tqdm import tqdm

from kws_jax.config import SAMPLE_RATE
from kws_jax.data.audio import to_pcm
from kws_jax.data.espeak import MAX_RATE, MAX_SPEAKERS, Espeak, Speaker, speakers
from kws_jax.data.sentences import COMMANDS, DEMO_SENTENCES, NEAR, TRAINING_SENTENCES
from kws_jax.data.sources import check_word
from kws_jax.errors import UserError
from kws_jax.files import written

__all__ = [
    "MAX_SPEAKERS",
    "SPEECH_FOLDER",
    "Speaker",
    "generate_corpus",
    "generate_demo_tracks",
    "speak_sentences",
    "speakers",
]

STAMP = "_synthetic.json"  # written last: a folder that holds it is complete
MAX_WORD_LENGTH = SAMPLE_RATE * 94 // 100  # samples
NOISE_SECONDS = 20
SPEECH_SECONDS = 16
SPEECH_FOLDER = "_speech_"  # in a corpus; no word, like every name that starts so
NUM_NEAR = 4  # of the words that may sound like the keyword, the nearest, which are spoken


def generate_corpus(
    folder: Path,
    keyword: str = "sheila",
    seed: int = 0,
    num_speakers: int = MAX_SPEAKERS,
    clips_per_word: int = 3,
    clips_of_keyword: int = 6,
) -> Path:
    """Makes a corpus: `<word>/<speaker>_nohash_<n>.wav`, 1 s each, and 20 s files in `_background_noise_`.

    `_speech_/<speaker>-0.wav` holds 16 s of running speech by every training voice.

    A complete corpus made with the same arguments is kept; one made with others is replaced.

    Args:
        folder: Where to put it. A folder with anything else in it is left alone.
        keyword: Any word or words that fit into one second.
        seed: Of everything that is drawn, in [0, 2**31).
        num_speakers: In [3, MAX_SPEAKERS].
        clips_per_word: Takes of a command by each speaker, at different pitch and rate; there is one of each of the
            words that sound like the keyword, which would else be most of the errors.
        clips_of_keyword: Takes of the keyword by each speaker; with 0 they need not be able to say it.

    Returns:
        The folder.

    Raises:
        UserError: If espeakng-loader is absent, the folder is not ours, or the keyword cannot be spoken in a second.
    """
    options = {"keyword": keyword, "seed": seed, "num_speakers": num_speakers}
    options |= {"clips_per_word": clips_per_word, "clips_of_keyword": clips_of_keyword}
    return _in_fresh_process("corpus", folder, options)


def generate_demo_tracks(folder: Path, keyword: str = "sheila", seed: int = 3) -> Path:
    """Makes before.wav and after.wav (10 to 20 s without the keyword) and keyword.wav (1 s), by testing voices.

    Args, return value and errors are those of `generate_corpus`.
    """
    return _in_fresh_process("demo", folder, {"keyword": keyword, "seed": seed})


def _in_fresh_process(command: str, folder: Path, arguments: dict[str, Any]) -> Path:
    folder = Path(folder).resolve()
    package_root = Path(__file__).resolve().parents[2]
    words = [sys.executable, "-m", "kws_jax.data.synthetic", command, str(folder), json.dumps(arguments)]
    # A group of its own hears no Ctrl-C: an interrupt here ends it.
    child = subprocess.run(words, cwd=package_root, stdout=subprocess.PIPE, text=True, process_group=0)
    if child.returncode:
        raise UserError(child.stdout.strip() or f"{folder} could not be made; the reason is above")
    return folder


def _corpus(
    folder: Path, keyword: str, seed: int, num_speakers: int, clips_per_word: int, clips_of_keyword: int
) -> None:
    if not 3 <= num_speakers <= MAX_SPEAKERS or clips_per_word < 1 or clips_of_keyword < 0:
        raise UserError(f"a corpus needs 3 to {MAX_SPEAKERS} speakers (not {num_speakers}) and a clip of each word")

    def write(target: Path) -> None:
        espeak, rng = Espeak(seed), np.random.default_rng(seed)
        cast, takes = speakers(seed, num_speakers), _takes(espeak, keyword, clips_per_word, clips_of_keyword)
        for speaker, word in tqdm(
            [(s, w) for s in cast for w in takes], desc="synthetic corpus", unit="word", disable=None
        ):
            for take in range(takes[word]):
                spoken = _speak_word(espeak, speaker, word, rng)
                _write(target / word / f"{speaker.name}_nohash_{take}.wav", _clip(spoken, rng))
        for name, noise in _background(espeak, cast, keyword, rng):
            _write(target / "_background_noise_" / f"{name}.wav", noise)
        for speaker in [speaker for speaker in cast if speaker.split == "training"]:
            said = rng.permutation(_without(keyword, TRAINING_SENTENCES)).tolist()
            speech = speak_sentences(espeak, speaker, said, SPEECH_SECONDS)
            _write(target / SPEECH_FOLDER / f"{speaker.name}-0.wav", speech)

    options = {"keyword": keyword, "seed": seed, "num_speakers": num_speakers}
    options |= {"clips_per_word": clips_per_word, "clips_of_keyword": clips_of_keyword}
    _build(folder, options, write)


def _demo(folder: Path, keyword: str, seed: int) -> None:
    def write(target: Path) -> None:
        espeak, rng = Espeak(seed), np.random.default_rng(seed)
        cast = [speaker for speaker in speakers(seed) if speaker.split == "testing"]
        before, middle, after = (cast[index] for index in rng.permutation(len(cast))[:3])
        sentences = rng.permutation(_without(keyword, DEMO_SENTENCES)).tolist()
        half = len(sentences) // 2
        _write(target / "before.wav", speak_sentences(espeak, before, sentences[:half]))
        _write(target / "keyword.wav", _clip(_speak_word(espeak, middle, keyword, rng), rng))
        _write(target / "after.wav", speak_sentences(espeak, after, sentences[half:]))

    _build(folder, {"keyword": keyword, "seed": seed}, write)


def _build(folder: Path, options: dict[str, Any], write: Callable[[Path], None]) -> None:
    """Fills the folder, or leaves it as it is when it holds the same already; never half."""
    check_word(options["keyword"])
    if not 0 <= options["seed"] < 2**31:
        raise UserError(f"the seed {options['seed']} must be in [0, 2**31)")
    sources = [Path(__file__), Path(__file__).with_name("espeak.py"), Path(__file__).with_name("sentences.py")]
    code = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    stamp = json.dumps({**options, "code": code}, indent=1) + "\n"
    if (folder / STAMP).is_file() and (folder / STAMP).read_text() == stamp:
        return
    if folder.exists() and not (folder / STAMP).is_file() and any(folder.iterdir()):
        raise UserError(f"{folder} holds other files: name another folder for the synthetic speech")
    with written(folder) as made:
        write(made)
        (made / STAMP).write_text(stamp)


def _takes(espeak: Espeak, keyword: str, clips_per_word: int, clips_of_keyword: int) -> dict[str, int]:
    """Takes of the keyword, of the words nearest to it in sound, and of the commands; none sounds the same as it."""
    target = espeak.phonemes(keyword)
    sounds = {word: espeak.phonemes(word) for word in [*COMMANDS, *NEAR]}
    others = [word for word, sound in sounds.items() if sound != target and word != keyword.lower()]
    candidates = [word for word in NEAR if word in others]
    near = sorted(candidates, key=lambda word: -SequenceMatcher(None, target, sounds[word], autojunk=False).ratio())
    commands = {word: clips_per_word for word in COMMANDS if word in others}
    return {keyword: clips_of_keyword, **dict.fromkeys(near[:NUM_NEAR], 1), **commands}


def _without(keyword: str, sentences: Sequence[str]) -> list[str]:
    result = [text for text in sentences if not re.search(rf"\b{re.escape(keyword)}\b", text, re.IGNORECASE)]
    if len(result) < 10:  # five on either side of the keyword last 10 s
        raise UserError(f"{keyword!r} is too common a word: it is in most of the sentences of running speech")
    return result


def _speak_word(espeak: Espeak, speaker: Speaker, word: str, rng: np.random.Generator) -> Float[np.ndarray, " samples"]:
    pitch = round(speaker.pitch + rng.uniform(-10, 10))
    rate = speaker.rate * rng.uniform(0.85, 1.2)
    while True:
        spoken = espeak.speak(word, speaker.voice, round(rate), pitch)
        if 0 < len(spoken) <= MAX_WORD_LENGTH:
            return spoken
        if not len(spoken) or rate == MAX_RATE:
            raise UserError(f"espeak-ng cannot say {word!r} within one second: choose a shorter keyword")
        rate = min(1.15 * rate, MAX_RATE)


def _clip(spoken: Float[np.ndarray, " samples"], rng: np.random.Generator) -> Float[np.ndarray, " second"]:
    """One second with the word somewhere in it, at -34 to -18 dBFS, over noise 15 to 40 dB below."""
    level = 10 ** (rng.uniform(-34, -18) / 20)
    noise_level = level * 10 ** (-rng.uniform(15, 40) / 20)
    result = noise_level * _noise(rng, SAMPLE_RATE, exponent=rng.uniform(0, 1))
    start = rng.integers(SAMPLE_RATE - len(spoken) + 1)
    result[start : start + len(spoken)] += level * spoken / np.sqrt(np.mean(spoken**2))
    return result


def _noise(rng: np.random.Generator, num_samples: int, exponent: float) -> Float[np.ndarray, " samples"]:
    """Noise of root mean square 1 whose power falls as frequency**-exponent: 0 is white, 1 is pink."""
    spectrum = np.fft.rfft(rng.standard_normal(num_samples))
    spectrum *= np.maximum(np.arange(len(spectrum)), 1) ** (-exponent / 2)
    noise = np.fft.irfft(spectrum, num_samples)
    return noise / np.sqrt(np.mean(noise**2))


def _background(
    espeak: Espeak, cast: Iterable[Speaker], keyword: str, rng: np.random.Generator
) -> Iterator[tuple[str, Float[np.ndarray, " samples"]]]:
    """White and pink noise and a babble of training voices, at -26 dBFS."""
    num_samples = NOISE_SECONDS * SAMPLE_RATE
    yield "white_noise", 0.05 * _noise(rng, num_samples, exponent=0)
    yield "pink_noise", 0.05 * _noise(rng, num_samples, exponent=1)
    babble = np.zeros(num_samples)
    for speaker in [speaker for speaker in cast if speaker.split == "training"][:6]:
        sentences = rng.permutation(_without(keyword, TRAINING_SENTENCES)).tolist()
        speech = speak_sentences(espeak, speaker, sentences, NOISE_SECONDS)
        babble += np.resize(speech, num_samples) / np.sqrt(np.mean(speech**2))
    yield "babble", 0.05 * babble / np.sqrt(np.mean(babble**2))


def speak_sentences(
    espeak: Espeak, speaker: Speaker, sentences: Iterable[str], seconds: float = 12
) -> Float32[np.ndarray, " samples"]:
    """Running speech: sentences with 0.3 s of silence after each, until `seconds` are reached; 16 kHz, peak 0.5."""
    parts: list[Float[np.ndarray, " samples"]] = []
    for sentence in sentences:
        parts += [espeak.speak(sentence, speaker.voice, round(speaker.rate), round(speaker.pitch)), np.zeros(4800)]
        if sum(map(len, parts)) >= seconds * SAMPLE_RATE:
            break
    speech = np.concatenate(parts)
    return (0.5 * speech / np.abs(speech).max()).astype(np.float32)


def _write(path: Path, waveform: Float[np.ndarray, " samples"]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, to_pcm(waveform.astype(np.float32)), SAMPLE_RATE, subtype="PCM_16")


if __name__ == "__main__":
    try:
        make: dict[str, Callable[..., None]] = {"corpus": _corpus, "demo": _demo}
        make[sys.argv[1]](Path(sys.argv[2]), **json.loads(sys.argv[3]))
    except (UserError, OSError) as error:
        print(error)  # on stdout, where the process that started this one reads it
        raise SystemExit(1) from None
