"""The bridge: the only package that knows both frameworks."""
