"""What the classes of published networks are called, in the order of their numbers."""

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""https://www.cs.toronto.edu/~kriz/cifar.html, and TFDS's set."""


def imagenet() -> tuple[str, ...]:
    """The 1000 classes of ILSVRC 2012 in the order of their WordNet ids: "tench, Tinca tinca", as WordNet has them."""
    # TFDS's own set of ImageNet knows the ids alone; this list of it comes with another set.
    from tensorflow_datasets.datasets.siscore.labels import IMAGENET_LABELS_LIST  # takes seconds to import

    return tuple(IMAGENET_LABELS_LIST)
