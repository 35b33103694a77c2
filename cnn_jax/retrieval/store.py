"""An index on disk: the descriptors of images in parts, and whose they are. It grows, also after it was killed.

index.json          the network's digest and settings, the descriptor, the whitening, where the network was
part-000000.npz     vectors float32 (n, D) and names of n images; a part is whole or is not there
whitening.npz       fitted on `count` vectors, those of the index
"""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from cnn_jax.config import ConfigError
from cnn_jax.network import Network
from cnn_jax.retrieval import descriptors
from cnn_jax.retrieval.whitening import Whitening, find_components, make_whitening
from cnn_jax.train import record
from cnn_jax.train.checkpoint import digest
from cnn_jax.train.record import RecordError

ABOUT = "index.json"
PART = 4_096
"""Images of a part, all that a killed process loses."""


class Index(NamedTuple):
    """An index in memory.

    Attributes:
      about: what index.json says.
      names: of N images, their paths where they are files.
      vectors: float32 (N, D), of length 1, before the whitening.
    """

    about: dict[str, Any]
    names: list[str]
    vectors: np.ndarray


class Grown(NamedTuple):
    """What became of images: how many were added, how many were there already, why others were left out."""

    added: int
    present: int
    damaged: tuple[str, ...]


def identify(network: Network) -> str:
    """A digest of all that a descriptor depends on: the model, its variables, and what it is shown of an image."""
    shown: Any = network.preprocess
    settings = (repr(network.model), shown.to_json(), network.scales, network.size, network.image_size)
    return hashlib.sha256(f"{digest(network.variables)} {json.dumps(settings)}".encode()).hexdigest()[:16]


def begin(folder: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """Writes index.json, or checks that the one there is of the same network and descriptor, and returns it.

    Args:
      folder: of the index, new or not.
      about: `network`, see `identify`, and `descriptor`, as text, are what an index is of; the rest is told with it.

    Raises RecordError where the index is another's, or is no index.
    """
    known = record.read_json(record.require_writable(folder) / ABOUT)
    if known is None:
        record.write_json(folder / ABOUT, dict(about))
        return dict(about)
    require_same(folder, known, about)
    return known


def require_same(folder: Path, known: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Raises RecordError where two descriptions are not of the same network and descriptor."""
    for what, advice in (("network", "its vectors mean nothing to this one"), ("descriptor", "its vectors are others")):
        if known.get(what) != about[what]:
            raise RecordError(
                f"{folder} is an index by another {what}, {known.get(what)}, not {about[what]}: {advice}; give another "
                "--workdir"
            )


def grow(
    folder: Path,
    describe: Callable[[Sequence[int]], Any],
    names: Sequence[str],
    progress: bool = False,
) -> Grown:
    """Adds images to the index, less those that it has by name; what was added stays, whenever this is killed.

    Args:
      folder: see `begin`.
      describe: of places among the images yields `(positions in them, vectors float32 (n, D), damaged)` by batches.
      names: of N images.
      progress: whether to draw a bar on stderr.

    Raises RecordError where a part cannot be read or written; whatever `describe` raises.
    """
    with record.lock(folder), record.convert_write_errors(folder):
        there = {name for part in parts(folder) for name in read_names(part)}
        todo = [place for place, name in enumerate(names) if name not in there]
        held: list[tuple[np.ndarray, np.ndarray]] = []
        damaged: list[str] = []
        with tqdm(total=len(todo), desc="indexing", unit=" images", disable=not progress) as bar:
            for positions, vectors, reasons in describe(todo):
                held.append((np.asarray(todo, np.int64)[positions], vectors))
                damaged += reasons
                bar.update(len(positions) + len(reasons))
                if sum(len(one) for one, _ in held) >= PART:
                    write_part(folder, held, names)
                    held = []
        write_part(folder, held, names)
    return Grown(len(todo) - len(damaged), len(names) - len(todo), tuple(damaged))


def parts(folder: Path) -> list[Path]:
    """The files of the vectors, in order."""
    return sorted(folder.glob("part-*.npz"))


def write_part(folder: Path, held: Sequence[tuple[np.ndarray, np.ndarray]], names: Sequence[str]) -> None:
    """The next part, of `(places, vectors)`; none where there are none."""
    places = np.concatenate([np.empty(0, np.int64), *(places for places, _ in held)])
    if not len(places):
        return
    content = io.BytesIO()
    known = np.array([os.fsencode(names[place]) for place in places])
    vectors = np.concatenate([vectors for _, vectors in held])
    np.savez(content, vectors=vectors, names=known)
    record.write_atomically(folder / f"part-{len(parts(folder)):06}.npz", content.getvalue())


def read_arrays(path: Path, *names: str) -> list[np.ndarray]:
    """These arrays of a file, nothing being unpickled; raises RecordError."""
    try:
        # The file that NumPy opens itself it leaves open where it is damaged.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return [archive[name] for name in names]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RecordError(f"{path} cannot be read ({error}); delete it, and add its images again") from error


def read_names(part: Path) -> list[str]:
    return [os.fsdecode(name) for name in read_arrays(part, "names")[0]]


def load(folder: Path) -> Index:
    """The index, its vectors once in memory. Raises RecordError where there is none, or a part cannot be read."""
    about = record.read_json(folder / ABOUT)
    found = parts(folder)
    if about is None or not found:
        raise RecordError(f"{folder} holds no index: --add=FOLDER makes one of the pictures in a folder")
    names = [read_names(part) for part in found]
    vectors, start = np.empty((0, 0), np.float32), 0
    for part, known in zip(found, names, strict=True):
        (own,) = read_arrays(part, "vectors")
        if not start:
            vectors = np.empty((sum(map(len, names)), own.shape[1]), np.float32)
        vectors[start : start + len(known)] = own
        start += len(known)
    return Index(about, [name for known in names for name in known], vectors)


def fit_whitening(folder: Path, index: Index) -> Whitening | None:
    """The whitening that the index asks for, of its own vectors, kept until it grows; None where it asks for none.

    Raises ConfigError where the vectors are too few.
    """
    asked = index.about.get("whitening")
    if not asked:
        return None
    path = folder / "whitening.npz"
    if path.exists():
        count, mean, projection = read_arrays(path, "count", "mean", "projection")
        if count == len(index.vectors):
            return Whitening(mean, projection)
    if len(index.vectors) <= asked["dimensions"]:
        raise ConfigError(
            f"--whiten={asked['dimensions']}: the index has {len(index.vectors)} images; add more, ten for each "
            "dimension are well"
        )
    whitening = make_whitening(find_components(index.vectors), asked["dimensions"], asked["shrinkage"])
    content = io.BytesIO()
    np.savez(content, count=len(index.vectors), **whitening._asdict())
    record.write_atomically(path, content.getvalue())
    return whitening


def describe_batches(
    network: Network, text: str, images: Callable[[Sequence[int]], Any], **options: Any
) -> Callable[[Sequence[int]], Any]:
    """What `grow` calls: the descriptor `text` of the network, of what `images` gives for places.

    Raises ConfigError, see `descriptors.parse`.
    """
    wanted = descriptors.parse(text, network.endpoint_shapes())

    def describe(todo: Sequence[int]) -> Any:
        for part in descriptors.describe(network, wanted, images(todo), **options) if todo else ():
            vectors = descriptors.combine(part.vectors, wanted) if len(part.indices) else np.empty((0, 0), np.float32)
            yield part.indices, vectors, part.damaged

    return describe
