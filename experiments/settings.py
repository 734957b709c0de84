"""The one table of settings: what is tried, why, and what is expected of it."""

from dataclasses import dataclass
from typing import Literal

from kws_jax.config import BASE, POOLED_13X, CrnnConfig
from kws_jax.errors import UserError
from kws_jax.recipe import Recipe
from torch_ref.train import SeminarRecipe

NumberFormat = Literal["fp32", "fp16", "qint8", "int8", "int4"]
BASE_NAME = "base"
SPEECH_SHARE = 0.3


@dataclass(frozen=True)
class Setting:
    """One row of the study.

    Attributes:
        name: Used in file names.
        question: What the row is there to find out.
        expectation: What was expected before it ran.
        model: The model as it is trained.
        recipe: How its weights are made: the seminar's loop in PyTorch, or ours in JAX; None takes those of `source`.
        source: Setting whose trained weights this one only stores differently.
        teacher: Setting whose model teaches this one.
        number_format: Of the weights, evaluated as such.
        speech_share: Share of the training clips without the keyword that are seconds of running speech.
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
    headline: bool = False

    @property
    def learns_from(self) -> tuple[str, ...]:
        """Settings whose weights decide this one's."""
        return tuple(name for name in (self.source, self.teacher) if name)

    @property
    def needs(self) -> tuple[str, ...]:
        """Settings that must have run before this one; everything is compared with the base."""
        bar = () if self.name == BASE_NAME else (BASE_NAME,)
        return tuple(dict.fromkeys((*self.learns_from, *bar)))


SETTINGS: tuple[Setting, ...] = (
    Setting(
        BASE_NAME,
        question="How good is the homework's model, trained as the seminar trains it?",
        expectation="1 - AUROC near 2e-3 on speakers that training never heard",
        recipe=SeminarRecipe(),
    ),
    Setting(
        "base_fp16",
        question="What does half precision cost the base?",
        expectation="nothing measurable, at half the bytes",
        source=BASE_NAME,
        number_format="fp16",
    ),
    Setting(
        "base_qint8",
        question="What does dynamic 8-bit quantization of GRU and linear layers cost the base?",
        expectation="within 10 % of the base, at a quarter of the bytes",
        source=BASE_NAME,
        number_format="qint8",
    ),
    Setting(
        "pooled_hard",
        question="How good is a pooled student with 12 times less work, from hard labels alone?",
        expectation="better than the base: pooling, batch norm and augmentation drawn per clip do more than size",
        model=POOLED_13X,
        recipe=Recipe(),
    ),
    Setting(
        "pooled_dark",
        question="What does the base's dark knowledge add to the same student?",
        expectation="a little; the teacher is worse than its student, so perhaps nothing",
        model=POOLED_13X,
        recipe=Recipe(teacher_weight=0.5, temperature=3.0),
        teacher=BASE_NAME,
    ),
    Setting(
        "pooled_dark_fp16",
        question="What does half precision cost the taught student?",
        expectation="as good, at half the bytes",
        source="pooled_dark",
        number_format="fp16",
    ),
    Setting(
        "pooled_dark_qint8",
        question="What do 8-bit GRU and linear weights cost the taught student?",
        expectation="within 10 % of its float self; a small model has less redundancy to lose",
        source="pooled_dark",
        number_format="qint8",
    ),
    Setting(
        "pooled_speech",
        question="Do seconds of running speech among the training clips keep the pooled student quiet in a stream?",
        expectation="far fewer false alarms on running speech, and the same quality on single words",
        model=POOLED_13X,
        recipe=Recipe(),
        speech_share=SPEECH_SHARE,
    ),
    Setting(
        "pooled_stream",
        question="Is a GRU state safe to carry for minutes when training carries it from clip to clip?",
        expectation="as good with a carried state as over sliding windows, and the same quality on single words",
        model=POOLED_13X,
        recipe=Recipe(clips_per_sequence=4),
        speech_share=SPEECH_SHARE,
    ),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}


def with_needs(names: list[str]) -> list[Setting]:
    """The named settings and all they need, each after its needs.

    Raises:
        UserError: If there is no setting of such a name.
    """
    ordered: dict[str, Setting] = {}

    def add(name: str) -> None:
        if name not in BY_NAME:
            raise UserError(f"no setting {name!r}: choose from {', '.join(BY_NAME)}")
        for need in BY_NAME[name].needs:
            add(need)
        ordered.setdefault(name, BY_NAME[name])

    for name in names:
        add(name)
    return list(ordered.values())
