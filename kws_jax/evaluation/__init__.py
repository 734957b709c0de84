"""How well models and detectors do. NumPy only, but for the detector."""
