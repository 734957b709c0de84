"""Every numerical tolerance of the tests, with its reason. None is loosened where it is used."""

EXACT = 0.0  # the same arithmetic in the same order, or integers and copies
CLOSED_FORM = 1e-12  # two float64 computations of one formula
SAME_FRAMEWORK = 1e-6  # float32 reassociation inside one framework (measured 3e-7)
CROSS_FRAMEWORK = 1e-5  # float32 torch against float32 JAX through conv, GRU and attention (measured 2.8e-7)
GRADIENT = 1e-4  # gradients sum over batch and steps, so rounding adds up
LOG_MEL_DEFINITION = 5e-5  # float32 transform and filterbank against the definition in float64 (measured 9e-6)
