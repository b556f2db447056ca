"""Pictures of one digit, brought into the form of MNIST."""

from fastfc.images.picture import draw, prepare

__all__ = ["draw", "prepare"]
