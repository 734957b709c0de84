"""Configurations at the edges of what can be streamed, and drawn waveforms cut in drawn places."""

from dataclasses import replace

from kws_jax.config import FrontendConfig
from tests.helpers.models import TOY

ODD_CONFIGS = {
    "hop does not divide": replace(
        TOY, frontend=FrontendConfig(window_length=100, hop_length=48, num_mels=8), pool=(1, 1), stride=(1, 3)
    ),
    "pooled 4 x 4": replace(
        TOY,
        frontend=FrontendConfig(hop_length=64),
        pool=(4, 4),
        kernel_size=(10, 5),
        stride=(1, 2),
        max_window_length=3,
    ),
    # Frames so short that only the mirrored right edge reaches back past them, at a step that ends on a block's end.
    "right edge alone": replace(
        TOY,
        frontend=FrontendConfig(window_length=96, hop_length=64, num_mels=12),
        pool=(1, 1),
        kernel_size=(3, 5),
        stride=(2, 4),
    ),
    "no overlap": replace(
        TOY,
        frontend=FrontendConfig(window_length=160, hop_length=32, num_mels=8),
        pool=(1, 1),
        kernel_size=(2, 4),
        stride=(2, 4),
        gru_layers=1,
        max_window_length=1,
    ),
    # Of the first block, two frames are none.
    "pcen reaches ahead": replace(
        TOY,
        frontend=FrontendConfig(window_length=160, hop_length=32, num_mels=8, compression="pcen"),
        pool=(1, 1),
        kernel_size=(2, 5),
        stride=(2, 4),
    ),
}
