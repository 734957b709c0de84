"""Every numerical tolerance of the tests, with its reason. None is loosened where it is used."""

EXACT = 0.0  # the same arithmetic in the same order, or integers and copies
CLOSED_FORM = 1e-12  # two float64 computations of one formula
SAME_FRAMEWORK = 1e-6  # float32 reassociation inside one framework (measured 3e-7)
CROSS_FRAMEWORK = 1e-5  # float32 torch against float32 JAX through conv, GRU and attention (measured 2.8e-7)
GRADIENT = 1e-4  # gradients sum over batch and steps, so rounding adds up
# Probability, of trained models on sound that goes from digital silence to clipping; near silence a logarithm amplifies
# the rounding of each transform (measured 4.1e-6 and 3.9e-6 over all shipped models).
C_AND_JAX = 5e-5
C_AND_DEFINITION = 3e-5
ONNX_AND_JAX = 7e-5  # as above, its transform a product of matrices
LOG_MEL_DEFINITION = 5e-5  # float32 transform and filterbank against the definition in float64 (measured 9e-6)
LOG_MEL_NOISE = 1e-5  # float32 Fourier transforms of two libraries, then a logarithm (measured 1.5e-6 on noise)
PCEN_DEFINITION = 1e-5  # float32 against the definition in float64, of 1 + |frame| (measured 2.4e-6)
RESAMPLING = 1e-3  # pass-band ripple of scipy's default polyphase filter on a tone of amplitude 0.5 (measured 7.3e-4)
EMPIRICAL_QUANTILES = 5e-5  # 20,000 quantiles stand for a normal distribution: one step (measured 7e-6)
FLOAT16_LOGITS = 2e-3  # eleven bits of mantissa through the whole model (measured 7e-4)
QINT8_LOGITS = 5e-2  # 255 levels for weights and activations, random weights (measured 1.6e-2)
# Probability; one step's float16 sums against a whole sequence's. Logits from 4 to 8 are 4e-3 apart: one such step of
# both, times the slope 1/4, is 2e-3 (measured 2.1e-3 on the trained base, 4e-4 on random weights).
FLOAT16_STREAM = 4e-3
# Probability; stream and offline call every layer on the same numbers (measured 1.2e-7), but a library whose sums round
# by the number of frames can move an activation to the next of 255 levels (2.4e-3 where the attention's weights did).
QINT8_STREAM = 5e-3
QINT8_STREAM_RANGES = 4e-2  # probability; activation ranges of one step against those of all steps (measured 1.5e-2)
SCORES = 1e-6  # 1 - AUROC of stored float32 scores or of another processor: a rounded tie moves it by 1 pair in 10^6
RESAMPLED = 1.2e-7  # amplitudes to 1: two float64 sums, rounded to float32, one step of which is 6e-8 (measured 0)
WEBASSEMBLY = 1e-5  # probability, of one C program with and without fused multiplications (measured 2.3e-6 on speech)
