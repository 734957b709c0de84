"""The bridge: the only package that knows both frameworks."""

import sys

from kws_jax.command import leave_at_once

if sys.argv[0] == "-m":  # `python -m conversion` comes here first, and then imports for a while
    leave_at_once()
