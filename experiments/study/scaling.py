"""Settings as they are run: which of them a corpus has sounds for, and recipes that fit its size."""

from dataclasses import replace

from experiments.study.settings import SETTINGS, Setting
from kws_jax.training.recipe import Recipe
from torch_ref.train import SeminarRecipe

QUICK_EPOCHS, FEW_RESTARTS = 2, 2
# Our recipes were chosen on some 9,000 clips, and the seminar's takes 8,000 steps on its 51,000. On a small corpus an
# epoch is a few steps: there are more epochs then, for at least so many steps. On one as small as the synthetic voices'
# there are no more than these, those of clips half as large, so that a first run of all settings takes minutes.
SMALL_CORPUS, TINY_CORPUS, USUAL_CLIPS = 5_000, 2_000, 9_000
SMALL_STEPS, SEMINAR_STEPS = 1_600, 1_200
SMALL_SEMINAR = SeminarRecipe(learning_rate=1e-3, batch_size=64)
LEAST_BATCHES = 8  # of an epoch
SMALL_HOURS = 1.0  # of scenes


def names_of_all(has_speech: bool, only_headline: bool) -> tuple[str, ...]:
    """Of the settings of --all that can run."""
    chosen = [setting for setting in SETTINGS if setting.headline or not only_headline]
    return tuple(setting.name for setting in chosen if has_speech or not setting.scene_hours)


def resolved(setting: Setting, clips: int, quick: bool) -> Setting:
    """The setting as it is run on so many training clips."""
    recipe, is_small, hours = setting.recipe, clips < SMALL_CORPUS, setting.scene_hours
    if recipe is not None and is_small:
        hours = min(hours, SMALL_HOURS)
        draws = (clips, USUAL_CLIPS)
        if hours and isinstance(recipe, Recipe):
            draws = (int(hours * 3600 / recipe.window), int(setting.scene_hours * 3600 / recipe.window))
        elif clips < TINY_CORPUS and isinstance(recipe, Recipe):
            recipe = replace(recipe, batch_size=max(recipe.batch_size // 2, 1))
            draws = (clips, USUAL_CLIPS // 2)  # which leaves the number of steps
        recipe = for_small_corpus(recipe, *draws)
    if quick and recipe is not None:
        recipe = replace(recipe, epochs=QUICK_EPOCHS)
    restarts = min(setting.restarts, FEW_RESTARTS) if is_small or quick else setting.restarts
    return replace(setting, recipe=recipe, restarts=restarts, scene_hours=hours)


def for_small_corpus(
    recipe: SeminarRecipe | Recipe, clips: int, usual_clips: int = USUAL_CLIPS
) -> SeminarRecipe | Recipe:
    """A recipe whose epochs give as many steps as it needs, in batches of which an epoch has several.

    Args:
        recipe: As it was chosen on an epoch of `usual_clips` clips, or windows of scenes.
        clips: Of an epoch here.
        usual_clips: Of an epoch there.
    """
    if isinstance(recipe, SeminarRecipe):
        recipe, steps = SMALL_SEMINAR, SEMINAR_STEPS
    else:
        steps = min(recipe.epochs * usual_clips // recipe.batch_size, SMALL_STEPS)
    batch_size = min(recipe.batch_size, max(clips // LEAST_BATCHES, 1))
    epochs = max(1, round(steps / max(clips // batch_size, 1)))
    return replace(recipe, batch_size=batch_size, epochs=epochs if clips < TINY_CORPUS else max(epochs, recipe.epochs))
