"""The axis legend of the package, and array aliases that use it.

| axis     | meaning                                                              |
|----------|----------------------------------------------------------------------|
| batch    | independent clips or streams                                         |
| samples  | audio samples, 16 kHz, in [-1, 1]                                    |
| frames   | short-time Fourier frames, one every hop_length samples              |
| mels     | mel bands, from low to high                                          |
| steps    | outputs of the strided convolution, the time axis of GRU and attention |
| channels | output channels of the convolution                                   |
| features | channels x (convolved mels), channel-major: the GRU's input          |
| hidden   | GRU units                                                            |
| classes  | 0 = anything else, 1 = keyword                                       |
"""

from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray

Key = PRNGKeyArray
Params = dict[str, Any]

Waveform = Float[Array, "batch samples"]
MelPower = Float[Array, "batch frames mels"]
LogMel = Float[Array, "batch frames mels"]
Frames = Float[Array, "batch frames mels"]  # mel power as a model compresses it: log-mel, or what PCEN makes of it
Smoother = Float[Array, "batch bands"]  # of PCEN, one a mel band; none where a model takes the logarithm
Sequence = Float[Array, "batch steps hidden"]
Logits = Float[Array, "batch classes"]
AttentionWeights = Float[Array, "batch steps"]
