"""Students of the study, chosen on validation speakers."""

from dataclasses import replace

from kws_jax.config import POOLED_13X, CrnnConfig, FrontendConfig

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
TWENTY = replace(
    LIGHT,
    frontend=FrontendConfig(f_min=80.0, f_max=6000.0),
    pool=(4, 4),
    conv_channels=22,
    stride=(1, 2),
    gru_hidden=20,
    attention_width=8,
    max_window_length=11,
)
TWENTY_LIGHT = replace(TWENTY, frontend=replace(TWENTY.frontend, window_length=512, hop_length=320), pool=(4, 2))
FRONTIER = replace(
    LIGHT,
    frontend=replace(LIGHT_FRONTEND, num_mels=8, f_min=150.0, f_max=5000.0),
    conv_channels=7,
    kernel_size=(8, 4),
    stride=(1, 4),
    gru_hidden=5,
    attention_width=4,
    max_window_length=6,
)
COMPACT = replace(FRONTIER, stride=(1, 2), max_window_length=12)
