"""Keyword spotting in JAX: pure functions and explicit state; thin classes on top."""
