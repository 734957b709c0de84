"""The one table of settings: what is tried, why, and what is expected of it.

A name says role, ratio, method and format: `student_21x_hop20_int8` has a 21st of the base's MACs by thop, hears a
frame every 20 ms, and stores its weights in 8 bits. Models and recipes were chosen on validation speakers.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from experiments.study.records import BASE_NAME
from kws_jax.config import BASE, CrnnConfig, FrontendConfig
from kws_jax.errors import UserError, check_ranges
from kws_jax.training.augment import Augmentation
from kws_jax.training.pruning import PruningPlan
from kws_jax.training.quantization import Scheme
from kws_jax.training.recipe import Recipe
from torch_ref.train import SeminarRecipe

NumberFormat = Literal["fp32", "fp16", "qint8", "int8", "int5", "int4"]


@dataclass(frozen=True)
class Setting:
    """One row of the study: a method or a combination of methods, and what it is there to find out.

    Attributes:
        name: Used in file names.
        question: What the row is there to find out.
        expectation: What was expected before it ran.
        model: The model as it is trained; None takes that of `weights_from`. A record holds the deployed model.
        recipe: How its weights are made: the seminar's loop in PyTorch, or ours in JAX; None takes those of
            `weights_from` as they are.
        weights_from: Setting whose trained weights this one starts from, or only stores differently.
        teacher: Setting whose model teaches this one.
        number_format: Of the weights, evaluated as such.
        scene_hours: Of scenes of the training speakers that it learns from; 0 learns from clips.
        word_balance: Words without the keyword are drawn in proportion to their number of clips to this power: 1 draws
            every clip equally often, 0 every word.
        framings: Positions within a hop at which training clips are framed, equally spaced; every draw takes one of
            them. A shift by whole hops of 40 ms alone always cuts a clip at the same places.
        restarts: How many initialisations are trained; the one with the lowest error on validation speakers is kept.
        headline: Whether a sweep over several keywords runs it with every one of them, not with the first alone.

    Raises:
        UserError: If a number is out of its range, or it has two models, or none, or nothing to take its weights from.
    """

    name: str
    question: str
    expectation: str
    model: CrnnConfig | None = None
    recipe: SeminarRecipe | Recipe | None = None
    weights_from: str | None = None
    teacher: str | None = None
    number_format: NumberFormat = "fp32"
    scene_hours: float = 0.0
    word_balance: float = 1.0
    framings: int = 1
    restarts: int = 1
    headline: bool = False

    def __post_init__(self) -> None:
        check_ranges(self, scene_hours=(0, 1e3), word_balance=(0, 10), framings=(1, 1_000), restarts=(1, 1_000))
        if (self.model is None) == (self.weights_from is None):
            raise UserError(f"{self.name} has either a model of its own, or that of the setting it takes weights from")
        if self.recipe is None and self.weights_from is None:
            raise UserError(f"{self.name} has neither a recipe nor weights to take")

    @property
    def learns_from(self) -> tuple[str, ...]:
        """Settings whose weights decide this one's, which must have run before it."""
        return tuple(name for name in (self.weights_from, self.teacher) if name)


STUDENT_12X = CrnnConfig(
    pool=(2, 2),
    kernel_size=(4, 10),
    stride=(4, 4),
    batch_norm=True,
    relu=True,
    gru_hidden=24,
    gru_layers=1,
    gru_dropout=0.0,
    attention_width=8,
)
ASSISTANT_2X = replace(STUDENT_12X, conv_channels=16, stride=(2, 4), gru_hidden=48, attention_width=16)
STUDENT_27X = replace(STUDENT_12X, conv_channels=6, stride=(4, 5), gru_hidden=16)
# The rest see all pooled mels at once.
STUDENT_21X = replace(
    STUDENT_12X,
    frontend=FrontendConfig(f_min=80.0, f_max=6000.0),
    pool=(4, 4),
    conv_channels=22,
    kernel_size=(10, 5),
    stride=(1, 2),
    gru_hidden=20,
)
STUDENT_21X_ALL_MELS = replace(STUDENT_21X, frontend=BASE.frontend)  # hears what its teacher hears
STUDENT_21X_HOP20 = replace(
    STUDENT_21X, frontend=replace(STUDENT_21X.frontend, window_length=512, hop_length=320), pool=(4, 2)
)
STUDENT_314X = replace(
    STUDENT_12X,
    frontend=FrontendConfig(window_length=256, hop_length=640, num_mels=8, f_min=150.0, f_max=5000.0),
    pool=(1, 1),
    conv_channels=7,
    kernel_size=(8, 4),
    stride=(1, 4),
    gru_hidden=5,
    attention_width=4,
    max_window_length=6,
)
STUDENT_157X = replace(STUDENT_314X, stride=(1, 2), max_window_length=12)
# What is trained on scenes normalizes each mel band. The base hears a frame every 20 ms here, as its students do, over
# the same 200 ms a step.
STUDENT_21X_STREAM = replace(STUDENT_21X_HOP20, frontend=replace(STUDENT_21X_HOP20.frontend, compression="pcen"))
# Half the transform and half the bands, side by side: a fifth of the samples is not heard.
STUDENT_21X_STREAM_LIGHT = replace(
    STUDENT_21X_STREAM, frontend=replace(STUDENT_21X_STREAM.frontend, window_length=256, num_mels=20), pool=(2, 2)
)
# Six looks a second, at eight bands of 40 ms that leave out no sample, as those of the smallest models on clips do.
STUDENT_185X_STREAM = replace(
    STUDENT_314X,
    frontend=STUDENT_21X_STREAM.frontend,
    pool=(5, 2),
    conv_channels=9,
    kernel_size=(8, 7),
    gru_hidden=7,
)
BASE_STREAM = replace(
    BASE, frontend=STUDENT_21X_STREAM.frontend, kernel_size=(5, 10), stride=(2, 4), batch_norm=True, relu=True
)

# Wide masks keep large models from learning by heart; small ones have no capacity to lose to them.
GENTLE = Augmentation(max_masked_mels=4, max_masked_frames=8)
# The same on lighter front ends: frames of 20 ms; frames of 40 ms.
MIDDLE = Augmentation(max_shift=5, max_masked_mels=6, max_masked_frames=12)
UNMASKED = Augmentation(max_shift=2, max_masked_mels=0, max_masked_frames=0)

TUNED = Recipe(epochs=300, peak_learning_rate=2e-3)
TAUGHT = Recipe(teacher_weight=0.5)
ATTENTIVE = replace(TAUGHT, attention_weight=1.0)
BRIEF = Recipe(epochs=100, peak_learning_rate=8e-3, augmentation=GENTLE)
LONG = Recipe(epochs=300, peak_learning_rate=2e-2, weight_decay=3e-3)
LONG_TAUGHT = replace(LONG, teacher_weight=0.5, attention_weight=1.0)
LONG_MIDDLE = replace(LONG, augmentation=MIDDLE)
LONG_UNMASKED = replace(LONG, augmentation=UNMASKED)

# On scenes: noise of its own for nearly every window, levels that 16 bits still hold well, and no masks.
IN_NOISE = Augmentation(0, (-20.0, 6.0), 0.85, (-3.0, 30.0), max_masked_mels=0, max_masked_frames=0)
ON_SCENES = Recipe(
    epochs=143,  # 20,000 steps of 8 hours
    batch_size=32,
    peak_learning_rate=7e-3,
    weight_decay=3e-2,
    average_decay=0.999,
    augmentation=IN_NOISE,
)
SCENE_HOURS = 8.0

WORD_BALANCE = 0.5  # seldom words are drawn more often than their clips would be


def on_grid(recipe: Recipe, scheme: Scheme, epochs: int) -> Recipe:
    """A recipe as it tunes a trained model for a grid.

    Eight bits need little; five and four move far, and the average of the steps lies between the points that rounding
    jumps to and fro.
    """
    rate = 3e-4 if scheme == "int8" else 2e-3
    return replace(recipe, epochs=epochs, scheme=scheme, peak_learning_rate=rate, weight_decay=0.0, average_decay=0.998)


SETTINGS: tuple[Setting, ...] = (
    Setting(
        BASE_NAME,
        question="How good is the homework's model, trained as the seminar trains it?",
        expectation="1 - AUROC near 2e-3 on speakers that training never heard",
        model=BASE,
        recipe=SeminarRecipe(),
        headline=True,
    ),
    Setting(
        "base_fp16",
        question="What does half precision cost the base?",
        expectation="nothing measurable, at half the bytes",
        weights_from=BASE_NAME,
        number_format="fp16",
    ),
    Setting(
        "base_qint8",
        question="What does dynamic 8-bit quantization of GRU and linear layers cost the base?",
        expectation="within 10 % of the base, at a quarter of the bytes",
        weights_from=BASE_NAME,
        number_format="qint8",
    ),
    Setting(
        "base_tuned",
        question="How good is the homework's model under the students' training?",
        expectation="ten times better than under the seminar's: the strict bar that students have to hold against",
        model=BASE,
        recipe=TUNED,
        word_balance=WORD_BALANCE,
        headline=True,
    ),
    Setting(
        "pruned_10x",
        question="What does structured pruning leave of the tuned base, while the unpruned one teaches?",
        expectation="ten times less work at two or three times the error",
        recipe=replace(
            TUNED,
            epochs=30,
            peak_learning_rate=1e-3,
            teacher_weight=0.5,
            pruning=PruningPlan(conv_channels=2, gru_hidden=16, attention_width=8),
        ),
        weights_from="base_tuned",
        teacher="base_tuned",
        word_balance=WORD_BALANCE,
    ),
    Setting(
        "pruned_10x_int8",
        question="Does the pruned model bear 8-bit weights and half-precision scales when trained for them?",
        expectation="as good as before, at a quarter of the bytes",
        recipe=on_grid(replace(TUNED, teacher_weight=0.5), "int8", epochs=15),
        weights_from="pruned_10x",
        number_format="int8",
        word_balance=WORD_BALANCE,
        teacher="base_tuned",
    ),
    Setting(
        "student_12x",
        question="How good is a pooled student with 12 times less work, from hard labels alone?",
        expectation="better than the base: pooling, batch norm and augmentation drawn per clip do more than size",
        model=STUDENT_12X,
        recipe=Recipe(),
    ),
    Setting(
        "student_12x_dark",
        question="What does the base's dark knowledge add to the same student?",
        expectation="a little; the teacher is worse than its student, so perhaps nothing",
        model=STUDENT_12X,
        recipe=TAUGHT,
        teacher=BASE_NAME,
    ),
    Setting(
        "student_12x_attention",
        question="Do the tuned base's dark knowledge and attention, together, make the student better?",
        expectation="yes: this teacher is better than its student",
        model=STUDENT_12X,
        recipe=ATTENTIVE,
        teacher="base_tuned",
    ),
    Setting(
        "student_12x_attention_qint8",
        question="What do 8-bit GRU and linear weights cost it when nothing is trained for them?",
        expectation="within 10 % of its float self",
        weights_from="student_12x_attention",
        number_format="qint8",
    ),
    Setting(
        "student_12x_attention_int8",
        question="Does training for 8-bit weights, the convolution's too, win that back?",
        expectation="as good as in floating point",
        recipe=on_grid(ATTENTIVE, "int8", epochs=15),
        weights_from="student_12x_attention",
        number_format="int8",
        teacher="base_tuned",
    ),
    Setting(
        "student_12x_attention_int4",
        question="Can weights have 4 bits?",
        expectation="at some loss, even when trained for them",
        recipe=on_grid(ATTENTIVE, "int4", epochs=40),
        weights_from="student_12x_attention",
        number_format="int4",
        teacher="base_tuned",
    ),
    Setting(
        "student_12x_similarity",
        question="Is it better to learn which clips the teacher's hidden states find alike?",
        expectation="no better than its attention: the labels already say which clips are alike",
        model=STUDENT_12X,
        recipe=replace(TAUGHT, similarity_weight=10.0),
        teacher="base_tuned",
    ),
    Setting(
        "assistant_2x",
        question="How good is a model between base and students, made to teach?",
        expectation="as good as the tuned base, with less than half the work",
        model=ASSISTANT_2X,
        recipe=replace(TUNED, epochs=40),
    ),
    Setting(
        "student_27x",
        question="How far does a student with 27 times less work come from hard labels, with masks that fit its size?",
        expectation="near the pooled student",
        model=STUDENT_27X,
        recipe=BRIEF,
    ),
    Setting(
        "student_27x_assisted",
        question="Does the same student learn more from the assistant than from labels alone?",
        expectation="yes: the gap to this teacher is smaller than to the base",
        model=STUDENT_27X,
        recipe=replace(BRIEF, teacher_weight=0.5),
        teacher="assistant_2x",
    ),
    Setting(
        "student_21x",
        question="How near to the tuned base is a model of a twentieth of its work that sees all mels at once?",
        expectation="at twice its error",
        model=STUDENT_21X,
        recipe=LONG,
        word_balance=WORD_BALANCE,
        headline=True,
    ),
    Setting(
        "student_21x_int8",
        question="And with 8 bits a weight, trained for them?",
        expectation="as good as in floating point, at a sixtieth of the base's bytes",
        recipe=on_grid(LONG, "int8", epochs=20),
        weights_from="student_21x",
        number_format="int8",
        word_balance=WORD_BALANCE,
        headline=True,
    ),
    Setting(
        "student_21x_attention",
        question="Is the tuned base a teacher for a model of a twentieth of its work?",
        expectation="yes, by its attention more than by its dark knowledge",
        model=STUDENT_21X_ALL_MELS,
        recipe=LONG_TAUGHT,
        word_balance=WORD_BALANCE,
        teacher="base_tuned",
        headline=True,
    ),
    Setting(
        "student_21x_hop20",
        question="Does the same model need a frame every 10 ms?",
        expectation="no: every 20 ms will do, in windows of 32 ms, and the front end does two thirds of the work",
        model=STUDENT_21X_HOP20,
        recipe=LONG_MIDDLE,
        word_balance=WORD_BALANCE,
        headline=True,
    ),
    Setting(
        "student_21x_hop20_int8",
        question="And with 8 bits a weight?",
        expectation="as good as in floating point, twice as fast as the base from samples to probability",
        recipe=on_grid(LONG_MIDDLE, "int8", epochs=20),
        weights_from="student_21x_hop20",
        number_format="int8",
        word_balance=WORD_BALANCE,
        headline=True,
    ),
    Setting(
        "base_stream",
        question="How good a detector is the homework's model when it learns from scenes, and hears PCEN?",
        expectation="a third of the tuned base's misses at the same false alarms: clips hold no running speech",
        model=BASE_STREAM,
        recipe=replace(ON_SCENES, epochs=57, peak_learning_rate=3e-3),
        scene_hours=SCENE_HOURS,
        headline=True,
    ),
    Setting(
        "student_21x_stream",
        question="And a model of a twentieth of its work?",
        expectation="nearly as good: it has a tenth of the weights, and as much to hear",
        model=STUDENT_21X_STREAM,
        recipe=ON_SCENES,
        scene_hours=SCENE_HOURS,
        headline=True,
    ),
    Setting(
        "student_21x_stream_attention",
        question="Does the base's attention, with its dark knowledge, teach at every step of a stream?",
        expectation="a little, as on clips: this teacher is better than its student",
        model=STUDENT_21X_STREAM,
        recipe=replace(ON_SCENES, teacher_weight=0.5, attention_weight=1.0, temperature=1.0),
        teacher="base_stream",
        scene_hours=SCENE_HOURS,
    ),
    Setting(
        "pruned_13x_stream",
        question="What does structured pruning leave of a base that learnt from scenes?",
        expectation="more misses than a student that was built small, as on clips",
        recipe=replace(
            ON_SCENES,
            epochs=43,
            peak_learning_rate=2e-3,
            weight_decay=1e-3,
            teacher_weight=0.5,
            temperature=1.0,
            pruning=PruningPlan(conv_channels=2, gru_hidden=16, attention_width=8),
        ),
        weights_from="base_stream",
        teacher="base_stream",
        scene_hours=SCENE_HOURS,
    ),
    Setting(
        "student_21x_stream_log",
        question="What is the normalization worth, beside the scenes?",
        expectation="as much as the scenes",
        model=STUDENT_21X_HOP20,
        recipe=ON_SCENES,
        scene_hours=SCENE_HOURS,
    ),
    Setting(
        "student_21x_stream_int8",
        question="And with 8 bits a weight, trained for them on scenes?",
        expectation="the same misses, at a sixtieth of the base's bytes",
        recipe=on_grid(ON_SCENES, "int8", epochs=10),
        weights_from="student_21x_stream",
        number_format="int8",
        scene_hours=SCENE_HOURS,
        headline=True,
    ),
    Setting(
        "student_21x_stream_light",
        question="What does a front end of half the work cost, which takes most of a student's time?",
        expectation="a point or two of misses, for half the time in C",
        model=STUDENT_21X_STREAM_LIGHT,
        recipe=ON_SCENES,
        scene_hours=SCENE_HOURS,
    ),
    Setting(
        "student_21x_stream_light_int8",
        question="And with 8 bits a weight, trained for them on scenes?",
        expectation="the same misses, in the least time of those with as many weights",
        recipe=on_grid(ON_SCENES, "int8", epochs=10),
        weights_from="student_21x_stream_light",
        number_format="int8",
        scene_hours=SCENE_HOURS,
    ),
    Setting(
        "student_185x_stream",
        question="And with a thousand weights, which look six times a second?",
        expectation="twice the misses: noise leaves little to see in eight bands",
        model=STUDENT_185X_STREAM,
        recipe=replace(ON_SCENES, peak_learning_rate=1e-2),
        scene_hours=SCENE_HOURS,
    ),
    Setting(
        "student_185x_stream_taught",
        question="Does a better detector teach what it says of every step?",
        expectation="fewer misses in noise, where labels say least",
        model=STUDENT_185X_STREAM,
        recipe=replace(ON_SCENES, peak_learning_rate=1e-2, teacher_weight=0.5, temperature=1.0),
        teacher="student_21x_stream",
        scene_hours=SCENE_HOURS,
        headline=True,
    ),
    Setting(
        "student_185x_stream_int5",
        question="And with 5 bits a weight, trained for them on scenes?",
        expectation="a detector in less than a kilobyte",
        recipe=on_grid(ON_SCENES, "int5", epochs=40),
        weights_from="student_185x_stream_taught",
        number_format="int5",
        scene_hours=SCENE_HOURS,
        headline=True,
    ),
    Setting(
        "student_157x",
        question="How few weights does a model need that is better than the base?",
        expectation="about 500, if it may look twelve times at a clip",
        model=STUDENT_157X,
        recipe=LONG_UNMASKED,
        word_balance=WORD_BALANCE,
        framings=4,
        restarts=4,
        headline=True,
    ),
    Setting(
        "student_157x_int5",
        question="And with 5 bits a weight?",
        expectation="800 times fewer bytes than the base, at less than its error",
        recipe=on_grid(LONG_UNMASKED, "int5", epochs=150),
        weights_from="student_157x",
        number_format="int5",
        word_balance=WORD_BALANCE,
        framings=4,
        restarts=3,
        headline=True,
    ),
    Setting(
        "student_314x",
        question="How little work does a model need that is no worse than the base?",
        expectation="a three-hundredth: six looks at a clip, the best of six initialisations",
        model=STUDENT_314X,
        recipe=LONG_UNMASKED,
        word_balance=WORD_BALANCE,
        framings=4,
        restarts=6,
        headline=True,
    ),
    Setting(
        "student_314x_int5",
        question="And with 5 bits a weight?",
        expectation="300 times less work and 800 times fewer bytes than the base, at no more than its error",
        recipe=on_grid(LONG_UNMASKED, "int5", epochs=150),
        weights_from="student_314x",
        number_format="int5",
        word_balance=WORD_BALANCE,
        framings=4,
        restarts=3,
        headline=True,
    ),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}


def with_needs(names: Iterable[str]) -> list[Setting]:
    """The named settings and all that they learn from, each after what it learns from.

    Raises:
        UserError: If there is no setting of such a name.
    """
    ordered: dict[str, Setting] = {}

    def add(name: str) -> None:
        if name not in BY_NAME:
            raise UserError(f"no setting {name!r}: choose from {', '.join(BY_NAME)}")
        for need in BY_NAME[name].learns_from:
            add(need)
        ordered.setdefault(name, BY_NAME[name])

    for name in names:
        add(name)
    return list(ordered.values())


def deployed_model(setting: Setting) -> CrnnConfig:
    """The model that a setting ends with: pruned where it prunes, and with batch normalisation folded."""
    model = setting.model
    if model is None:
        assert setting.weights_from is not None
        model = deployed_model(BY_NAME[setting.weights_from])
    plan = setting.recipe.pruning if isinstance(setting.recipe, Recipe) else None
    if plan is not None:
        sizes = {name: getattr(plan, name) for name in ("conv_channels", "gru_hidden", "attention_width")}
        model = replace(model, **sizes)
    return replace(model, batch_norm=False)
