"""Students and recipes that several settings share, chosen on validation speakers."""

from dataclasses import replace

from kws_jax.augment import Augmentation
from kws_jax.config import POOLED_13X, CrnnConfig, FrontendConfig
from kws_jax.recipe import Recipe

# Wide masks keep large models from learning by heart; small ones have no capacity to lose.
GENTLE = Augmentation(max_masked_mels=4, max_masked_frames=8)
UNMASKED = Augmentation(max_shift=2, max_masked_mels=0, max_masked_frames=0)  # frames of 40 ms
LONG = Recipe(epochs=300, peak_learning_rate=2e-2, weight_decay=3e-3, augmentation=UNMASKED)

ASSISTANT = replace(POOLED_13X, conv_channels=16, stride=(2, 4), gru_hidden=48, attention_width=16)
SMALL = replace(POOLED_13X, conv_channels=6, stride=(4, 5), gru_hidden=16)
LIGHT_FRONTEND = FrontendConfig(window_length=256, hop_length=640, num_mels=10)
LIGHT = CrnnConfig(
    frontend=LIGHT_FRONTEND,
    conv_channels=10,
    kernel_size=(10, 5),
    stride=(1, 3),
    batch_norm=True,
    relu=True,
    gru_hidden=6,
    gru_layers=1,
    gru_dropout=0.0,
    attention_width=6,
    max_window_length=8,
)
FRONTIER = replace(
    LIGHT,
    frontend=replace(LIGHT_FRONTEND, num_mels=8),
    conv_channels=7,
    kernel_size=(8, 5),
    stride=(1, 4),
    gru_hidden=5,
    attention_width=4,
    max_window_length=6,
)
