"""Commands, and the rooms that they share."""

import sys

from kws_jax.command import leave_at_once

if sys.argv[0] == "-m":  # `python -m experiments.run` comes here first, and then imports for a while
    leave_at_once()
