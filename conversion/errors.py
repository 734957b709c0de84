"""What can be wrong with a checkpoint; every error names the key."""

from kws_jax.errors import UserError


class ConversionError(UserError):
    """A checkpoint that cannot be converted."""


class MissingTensor(ConversionError):
    """A tensor that the model needs is not there."""


class UnexpectedTensor(ConversionError):
    """A tensor is there that the model has no place for."""


class DuplicateTensor(ConversionError):
    """Two entries of a file stand for the same tensor."""


class MisshapenTensor(ConversionError):
    """A tensor has another shape than the model's."""
