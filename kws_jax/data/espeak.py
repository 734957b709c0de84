"""The espeak-ng speech synthesizer, called through ctypes, and a cast of its voices."""

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from kws_jax.config import SAMPLE_RATE
from kws_jax.data.splits import PLACES, name_in
from kws_jax.errors import UserError

__all__ = ["MAX_RATE", "MAX_SPEAKERS", "Espeak", "Speaker", "speakers"]

MAX_RATE = 450  # words a minute; beyond, espeak drops sounds
TRIM_LEVEL = 10 ** (-50 / 20)  # of the peak: anything softer at the ends is silence
EDGE = SAMPLE_RATE // 100  # samples kept around what was heard

# Of espeak-ng's 105 variants the 64 that sound least alike, by farthest-point order of their log-mels over five words.
VARIANTS = (  # noqa: SIM905
    "m1 zac shelby ian RicishayMax3 linda anika Alicia klatt2 Lee Andrea kaukovalta AnxiousAndy f3 marcelo announcer "
    "boris steph2 caleb iven2 Andy grandma robosoft3 robosoft4 norbert pedro edward travis pablo RicishayMax f4 Jacky "
    "m2 Annie david belinda Diogo f1 Storm Tweaky f5 m4 victor robosoft6 antonio ed sandro robert max robosoft "
    "benjamin Gene robosoft8 Michael iven4 Nguyen m5 RicishayMax2 m3 m8 klatt3 Mario paul quincy"
).split()
ACCENTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029", "en-us-nyc")
SPLITS = ("training", "testing", "validation", "training", "training")  # of a variant, by its place, for every seed
MAX_SPEAKERS = len(VARIANTS)

# Constants of espeak-ng/speak_lib.h.
_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_UTF8 = 1
_RATE, _VOLUME, _PITCH = 1, 2, 3
_PHONEMES_AS_IPA = 2

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """One espeak-ng; its random numbers and filters carry on from utterance to utterance.

    Two runs are equal bit for bit only if both start in a fresh process and speak the same things in the same order.
    The library keeps its state per process, so make one only. Making it changes the working directory.

    Args:
        seed: Of the library's random numbers, in [0, 2**31).

    Raises:
        UserError: If the package espeakng-loader, which carries the library, is absent.
    """

    def __init__(self, seed: int) -> None:
        try:
            import espeakng_loader
        except ImportError:
            raise UserError("the synthetic voices need espeak-ng: pip install 'kws-jax[synthetic]'") from None
        # espeak keeps this path in 160 bytes, too few for many a virtual environment: "." always fits.
        os.chdir(Path(espeakng_loader.get_data_path()).parent)
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._native_rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, b".", _DONT_EXIT)
        if self._native_rate <= 0:
            raise UserError("espeak-ng does not start: pip install --force-reinstall espeakng-loader")
        self._pieces: list[bytes] = []
        self._callback = _Callback(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        self._library.espeak_SetParameter(_VOLUME, 50, 0)

    def _collect(self, samples: int | None, num_samples: int, events: int | None) -> int:
        if samples and num_samples > 0:
            self._pieces.append(ctypes.string_at(samples, 2 * num_samples))
        return 0

    def speak(self, text: str, voice: str, rate: int, pitch: int) -> Float[np.ndarray, " samples"]:
        """Speaks a text.

        Args:
            text: What to say, in English spelling.
            voice: Accent and variant, such as "en-us+f3".
            rate: Words a minute, in [80, MAX_RATE].
            pitch: In [0, 100]; 50 is the variant's own.

        Returns:
            The waveform without silence at its ends, 16 kHz, in [-1, 1]; empty if nothing was to be heard.

        Raises:
            UserError: If the installed espeak-ng lacks the voice's accent.
        """
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise UserError(f"espeak-ng has no voice {voice!r}: pip install 'espeakng-loader>=0.2.4'")
        self._library.espeak_SetParameter(_RATE, rate, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        self._pieces.clear()
        encoded = text.encode()
        self._library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded) + 1), 0, 1, 0, _UTF8, None, None)
        native = np.frombuffer(b"".join(self._pieces), np.int16) / 2**15
        from scipy.signal import resample_poly  # half a second to import, which who only asks for a corpus saves

        return _trim(resample_poly(native, SAMPLE_RATE, self._native_rate)) if native.any() else np.zeros(0)

    def phonemes(self, text: str) -> str:
        """The text's pronunciation in American English, in IPA without stress marks."""
        self._library.espeak_SetVoiceByName(b"en-us")
        rest = ctypes.c_char_p(text.encode())
        parts = []
        while rest.value:  # each call takes one clause and moves the pointer on
            parts.append(self._library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _PHONEMES_AS_IPA).decode())
        return "".join(parts).translate({ord(mark): None for mark in "ˈˌ_ "})


def _trim(samples: Float[np.ndarray, " samples"]) -> Float[np.ndarray, " trimmed"]:
    heard = np.flatnonzero(np.abs(samples) > TRIM_LEVEL * np.abs(samples).max())
    trimmed = samples[max(heard[0] - EDGE, 0) : heard[-1] + EDGE].clip(-1, 1)
    trimmed[-EDGE:] *= np.linspace(1, 0, len(trimmed[-EDGE:]))  # variants with an echo stop in the middle of it
    return trimmed


@dataclass(frozen=True)
class Speaker:
    """One voice: its eight-digit name, espeak voice, split, pitch (0 to 100) and rate (words a minute)."""

    name: str
    voice: str
    split: str
    pitch: float
    rate: float


def speakers(seed: int, num_speakers: int = MAX_SPEAKERS) -> list[Speaker]:
    """The corpus's speakers: no two share a timbre, and every split has some (at least 3 speakers).

    A name is chosen so that the data set's rule puts it into the speaker's split. The split belongs to the timbre:
    a voice for testing is never trained on, whatever the seed.
    """
    rng = np.random.default_rng(seed)
    result = []
    for index, variant in enumerate(VARIANTS[:num_speakers]):
        split = SPLITS[index % len(SPLITS)]
        voice = f"{ACCENTS[(index + seed) % len(ACCENTS)]}+{variant}"
        name = name_in(f"{seed} {voice}", *PLACES[split])
        result.append(Speaker(name, voice, split, rng.uniform(30, 70), rng.uniform(120, 180)))
    return result
