"""The same stream as one C99 file: written for a model, and compiled and called from Python."""
