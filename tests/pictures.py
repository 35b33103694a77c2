"""Pictures drawn at random."""

import numpy as np
from PIL import Image


def draw_picture(draw, width, height):
    """Smooth, as photographs are: noise of a few pixels, enlarged."""
    noise = draw.integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
