"""One row of the study: a method or a combination of methods, and what it is there to find out."""

from dataclasses import dataclass
from typing import Literal

from kws_jax.config import BASE, CrnnConfig
from kws_jax.recipe import Recipe
from torch_ref.train import SeminarRecipe

NumberFormat = Literal["fp32", "fp16", "qint8", "int8", "int5", "int4"]
BASE_NAME = "base"


@dataclass(frozen=True)
class Setting:
    """One row of the study.

    Attributes:
        name: Used in file names.
        question: What the row is there to find out.
        expectation: What was expected before it ran.
        model: The model as it is trained; that of `source` where there is one. A record holds the deployed model.
        recipe: How its weights are made: the seminar's loop in PyTorch, or ours in JAX; None takes those of `source`.
        source: Setting whose trained weights this one starts from, or only stores differently.
        teacher: Setting whose model teaches this one.
        number_format: Of the weights, evaluated as such.
        speech_share: Share of the training clips without the keyword that are seconds of running speech.
        augments_waveforms: Whether augmentation is of samples, with the front end in every step, not of mel power.
        word_exponent: Words without the keyword are drawn in proportion to their number of clips to this power: 1 draws
            every clip equally often, 0 every word.
        phases: Positions within a hop at which training clips are framed, equally spaced; every draw takes one of them.
            A shift by whole hops of 40 ms alone always cuts a clip at the same places.
        restarts: How many initialisations are trained; the one with the lowest error on validation speakers is kept.
        headline: Whether a sweep over several keywords runs it with every one of them, not with the first alone.
    """

    name: str
    question: str
    expectation: str
    model: CrnnConfig = BASE
    recipe: SeminarRecipe | Recipe | None = None
    source: str | None = None
    teacher: str | None = None
    number_format: NumberFormat = "fp32"
    speech_share: float = 0.0
    augments_waveforms: bool = False
    word_exponent: float = 1.0
    phases: int = 1
    restarts: int = 1
    headline: bool = False

    def __post_init__(self) -> None:
        if self.augments_waveforms and self.phases > 1:
            raise ValueError("phases are of cached mel power, and waveforms are augmented before it")

    @property
    def learns_from(self) -> tuple[str, ...]:
        """Settings whose weights decide this one's."""
        return tuple(name for name in (self.source, self.teacher) if name)

    @property
    def needs(self) -> tuple[str, ...]:
        """Settings that must have run before this one; everything is compared with the base."""
        bar = () if self.name == BASE_NAME else (BASE_NAME,)
        return tuple(dict.fromkeys((*self.learns_from, *bar)))
