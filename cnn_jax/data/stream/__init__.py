"""Data that does not fit in memory: image folders and TFDS sets, decoded and augmented as they are needed."""

from cnn_jax.data.stream.encoded import Encoded
from cnn_jax.data.stream.loader import evaluation, training
from cnn_jax.data.stream.pictures import Augmentation
from cnn_jax.data.stream.views import Fitted, Middle, Views

__all__ = ["Augmentation", "Encoded", "Fitted", "Middle", "Views", "evaluation", "training"]
