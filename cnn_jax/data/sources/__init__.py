"""Where data sets come from, a module for each kind of source. Each has two functions:

`has(name, folder) -> bool`, whether the data set of this name is its own; opens no file of it;
`load(request) -> Dataset`, of what is asked for; raises DataError. In memory its fingerprint is made by `data.load`.
"""

from types import ModuleType

from cnn_jax.data.sources import digit_scenes, records
from cnn_jax.data.sources import folder as image_folder

SOURCES = (digit_scenes, image_folder, records)  # the last has what no other has, or says why it has not


def find(name: str, folder: str) -> ModuleType:
    """The source that has a data set, of the folder of prepared ones or of our own."""
    return next(source for source in SOURCES if source.has(name, folder))
