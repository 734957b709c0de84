"""The one table of settings: what is tried, why, and what is expected of it."""

from dataclasses import replace
from typing import Any

from experiments.architectures import ASSISTANT, COMPACT, FRONTIER, LIGHT, SMALL, TWENTY, TWENTY_LIGHT
from experiments.recipes import (
    ATTENTIVE,
    BRIEF,
    FAIR,
    LONG,
    LONG_MIDDLE,
    LONG_TAUGHT,
    LONG_UNMASKED,
    TAUGHT,
    TO_INT4,
    TO_INT5,
    TO_INT8,
)
from experiments.setting import BASE_NAME, Setting
from kws_jax.config import BASE, POOLED_13X
from kws_jax.errors import UserError
from kws_jax.pruning import PruningPlan
from kws_jax.recipe import Recipe
from torch_ref.train import SeminarRecipe

SPEECH_SHARE = 0.3
WORD_EXPONENT = 0.5  # seldom words are drawn more often than their clips would be
# How the smallest models hear their clips: four phases, 10 ms apart on the lightest front end.
SMALLEST: dict[str, Any] = {"word_exponent": WORD_EXPONENT, "phases": 4}


def _tuned(source: str, recipe: Recipe, question: str, expectation: str, **more: Any) -> Setting:
    """A row that tunes another's weights for the grid of a recipe, which names the row, and stores them so."""
    assert recipe.scheme is not None
    name, number_format = f"{source}_{recipe.scheme}", recipe.scheme
    return Setting(name, question, expectation, recipe=recipe, source=source, number_format=number_format, **more)


SETTINGS: tuple[Setting, ...] = (
    Setting(
        BASE_NAME,
        question="How good is the homework's model, trained as the seminar trains it?",
        expectation="1 - AUROC near 2e-3 on speakers that training never heard",
        recipe=SeminarRecipe(),
        headline=True,
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
        "fair_base",
        question="How good is the homework's model under the students' training?",
        expectation="ten times better than under the seminar's: the strict bar that students have to hold against",
        recipe=FAIR,
        word_exponent=WORD_EXPONENT,
        headline=True,
    ),
    Setting(
        "pruned",
        question="What does structured pruning leave of the fair base, while the unpruned one teaches?",
        expectation="ten times less work at two or three times the error",
        recipe=replace(
            FAIR,
            epochs=30,
            peak_learning_rate=1e-3,
            teacher_weight=0.5,
            pruning=PruningPlan(conv_channels=2, gru_hidden=16, attention_width=8),
        ),
        source="fair_base",
        teacher="fair_base",
        word_exponent=WORD_EXPONENT,
    ),
    _tuned(
        "pruned",
        replace(FAIR, epochs=15, teacher_weight=0.5, **TO_INT8),
        question="Does the pruned model bear 8-bit weights and half-precision scales when trained for them?",
        expectation="as good as before, at a quarter of the bytes",
        word_exponent=WORD_EXPONENT,
        teacher="fair_base",
    ),
    Setting(
        "pooled_hard",
        question="How good is a pooled student with 12 times less work, from hard labels alone?",
        expectation="better than the base: pooling, batch norm and augmentation drawn per clip do more than size",
        model=POOLED_13X,
        recipe=Recipe(),
    ),
    Setting(
        "pooled_waveform",
        question="Does the same student learn more from augmented samples than from augmented mel power?",
        expectation="no: the quality is the same, and every step pays for the front end",
        model=POOLED_13X,
        recipe=Recipe(),
        augments_waveforms=True,
    ),
    Setting(
        "pooled_dark",
        question="What does the base's dark knowledge add to the same student?",
        expectation="a little; the teacher is worse than its student, so perhaps nothing",
        model=POOLED_13X,
        recipe=TAUGHT,
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
        "pooled_attention",
        question="Do the fair base's dark knowledge and attention, together, make the student better?",
        expectation="yes: this teacher is better than its student",
        model=POOLED_13X,
        recipe=ATTENTIVE,
        teacher="fair_base",
    ),
    Setting(
        "pooled_attention_qint8",
        question="What do 8-bit GRU and linear weights cost it when nothing is trained for them?",
        expectation="within 10 % of its float self",
        source="pooled_attention",
        number_format="qint8",
    ),
    _tuned(
        "pooled_attention",
        replace(ATTENTIVE, epochs=15, **TO_INT8),
        question="Does training for 8-bit weights, the convolution's too, win that back?",
        expectation="as good as in floating point",
        teacher="fair_base",
    ),
    _tuned(
        "pooled_attention",
        replace(ATTENTIVE, epochs=40, **TO_INT4),
        question="Can weights have 4 bits?",
        expectation="at some loss, even when trained for them",
        teacher="fair_base",
    ),
    Setting(
        "pooled_similarity",
        question="Is it better to learn which clips the teacher's hidden states find alike?",
        expectation="no better than its attention: the labels already say which clips are alike",
        model=POOLED_13X,
        recipe=replace(TAUGHT, similarity_weight=10.0),
        teacher="fair_base",
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
    Setting(
        "assistant",
        question="How good is a model between base and students, made to teach?",
        expectation="as good as the fair base, with less than half the work",
        model=ASSISTANT,
        recipe=replace(FAIR, epochs=40),
    ),
    Setting(
        "small_hard",
        question="How far does a student with 27 times less work come from hard labels, with masks that fit its size?",
        expectation="near the pooled student",
        model=SMALL,
        recipe=BRIEF,
    ),
    Setting(
        "small_two_stage",
        question="Does the same student learn more from the assistant than from labels alone?",
        expectation="yes: the gap to this teacher is smaller than to the base",
        model=SMALL,
        recipe=replace(BRIEF, teacher_weight=0.5),
        teacher="assistant",
    ),
    Setting(
        "twenty",
        question="How near to the fair base is a model of a twentieth of its work that sees all mels at once?",
        expectation="at twice its error",
        model=TWENTY,
        recipe=LONG,
        word_exponent=WORD_EXPONENT,
        headline=True,
    ),
    _tuned(
        "twenty",
        replace(LONG, epochs=20, **TO_INT8),
        question="And with 8 bits a weight, trained for them?",
        expectation="as good as in floating point, at a sixtieth of the base's bytes",
        word_exponent=WORD_EXPONENT,
        headline=True,
    ),
    Setting(
        "twenty_attention",
        question="Is the fair base a teacher for a model of a twentieth of its work?",
        expectation="yes, by its attention more than by its dark knowledge",
        model=replace(TWENTY, frontend=BASE.frontend),  # it has to hear what its teacher hears
        recipe=LONG_TAUGHT,
        word_exponent=WORD_EXPONENT,
        teacher="fair_base",
        headline=True,
    ),
    _tuned(
        "twenty_attention",
        replace(LONG_TAUGHT, epochs=20, **TO_INT8),
        question="And with 8 bits a weight?",
        expectation="as good as in floating point",
        word_exponent=WORD_EXPONENT,
        teacher="fair_base",
        headline=True,
    ),
    Setting(
        "twenty_light",
        question="Does the same model need a frame every 10 ms?",
        expectation="no: every 20 ms will do, in windows of 32 ms, and the front end does two thirds of the work",
        model=TWENTY_LIGHT,
        recipe=LONG_MIDDLE,
        word_exponent=WORD_EXPONENT,
        headline=True,
    ),
    _tuned(
        "twenty_light",
        replace(LONG_MIDDLE, epochs=20, **TO_INT8),
        question="And with 8 bits a weight?",
        expectation="as good as in floating point, twice as fast as the base from samples to probability",
        word_exponent=WORD_EXPONENT,
        headline=True,
    ),
    Setting(
        "light",
        question="How much of the front end's work does the task need?",
        expectation="a seventh: 25 frames a second, 16 ms each, of 10 mels",
        model=LIGHT,
        recipe=LONG_UNMASKED,
        headline=True,
    ),
    _tuned(
        "light",
        replace(LONG_UNMASKED, epochs=30, **TO_INT8),
        question="What do 8-bit weights cost the light model when it is trained for them?",
        expectation="nothing",
        headline=True,
    ),
    Setting(
        "compact",
        question="How few weights does a model need that is better than the base?",
        expectation="about 500, if it may look twelve times at a clip",
        model=COMPACT,
        recipe=LONG_UNMASKED,
        **SMALLEST,
        restarts=4,
        headline=True,
    ),
    _tuned(
        "compact",
        replace(LONG_UNMASKED, epochs=150, **TO_INT5),
        question="And with 5 bits a weight?",
        expectation="800 times fewer bytes than the base, at less than its error",
        **SMALLEST,
        restarts=3,
        headline=True,
    ),
    Setting(
        "frontier",
        question="How little work does a model need that is no worse than the base?",
        expectation="a three-hundredth: six looks at a clip, the best of six initialisations",
        model=FRONTIER,
        recipe=LONG_UNMASKED,
        **SMALLEST,
        restarts=6,
        headline=True,
    ),
    _tuned(
        "frontier",
        replace(LONG_UNMASKED, epochs=150, **TO_INT5),
        question="And with 5 bits a weight?",
        expectation="300 times less work and 800 times fewer bytes than the base, at no more than its error",
        **SMALLEST,
        restarts=3,
        headline=True,
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
