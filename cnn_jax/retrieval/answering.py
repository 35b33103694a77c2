"""An index of picture files, as a user has it: grown, asked, and answering with a table and a sheet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnn_jax.data import inputs
from cnn_jax.data.dataset import DataError
from cnn_jax.data.sources import loose
from cnn_jax.network import Network
from cnn_jax.report import tables
from cnn_jax.retrieval import approximate, descriptors, search, store
from cnn_jax.retrieval.scores import DUPLICATE
from cnn_jax.retrieval.search import NOBODY
from cnn_jax.retrieval.store import Index
from cnn_jax.train import record

COLUMNS = ("query", "place", "file", "cosine", "class", "right", "duplicate")
SHEET = 12
"""Queries of the sheet."""
NAMED = 10
"""Damaged files that are named, of however many."""


class Asked(NamedTuple):
    """How the index is asked: for how many answers, expanded by how many, through how many lists; 0 is all, exactly."""

    neighbours: int
    expansion: int = 0
    probes: int = 0


def read_origin(folder: Path) -> dict[str, Any]:
    """By which flags the network of an index was given; none where there is no index. Raises RecordError."""
    return (record.read_json(folder / store.ABOUT) or {}).get("origin", {})


def read_descriptor(folder: Path) -> str | None:
    """The descriptor of an index, None where there is none. Raises RecordError."""
    return (record.read_json(folder / store.ABOUT) or {}).get("descriptor")


def default_descriptor(network: Network) -> str:
    """GeM of the last endpoint that is a map, before the classes are told apart where the network has such one."""
    maps = [name for name, shape in network.endpoint_shapes().items() if len(shape) == 3 and max(shape[:2]) > 1]
    before = [name for name in maps if network.endpoint_shapes()[name][-1] != network.model.num_classes]
    return f"{(before or maps)[-1]}:gem"


def add(
    folder: Path, network: Network, about: dict[str, Any], files: Sequence[str], progress: bool, **options: Any
) -> str:
    """Adds picture files to the index, and returns what became of them."""
    split = loose.open_files(files, (), network.decoding)
    describe = store.describe_batches(
        network, about["descriptor"], lambda todo: split[np.asarray(todo, np.int64)], **options
    )
    grown = store.grow(folder, describe, files, progress)
    total = sum(len(store.read_names(part)) for part in store.parts(folder))
    text = f"{folder}: {grown.added:,} pictures added, {grown.present:,} were there already; it has {total:,}"
    if grown.damaged:
        text += f"\n{len(grown.damaged):,} cannot be decoded and are left out:\n  "
        text += "\n  ".join(grown.damaged[:NAMED]) + "\n  ..." * (len(grown.damaged) > NAMED)
    return text


def answer(folder: Path, network: Network, files: Sequence[str], asked: Asked, **options: Any) -> str:
    """Searches the index with picture files; writes neighbours.csv and neighbours.png into its folder.

    Returns what is to be printed: the answers to the first query, the index's recall where it is approximate, and
    where the files are. Raises DataError, RecordError and ConfigError.
    """
    index = store.load(folder)
    parts = descriptors.parse(index.about["descriptor"], network.endpoint_shapes())
    images = loose.open_files(files, (), network.decoding)
    described = descriptors.gather(descriptors.describe(network, parts, images, **options), parts)
    if not len(described.indices):
        raise DataError(f"none of {len(files)} queries can be decoded: {described.damaged[0]}")
    kept = [files[place] for place in described.indices]
    vectors, queries = index.vectors, descriptors.combine(described.vectors, parts)
    whitening = store.fit_whitening(folder, index)
    if whitening is not None:
        vectors, queries = whitening(vectors), whitening(queries)
    places = {name: place for place, name in enumerate(index.names)}
    own = np.array([places.get(file, NOBODY) for file in kept], np.int32)
    if asked.expansion:
        queries = search.expand(vectors, queries, asked.expansion, own)
    scores, found, remark = find(vectors, queries, asked, own)
    rows = tabulate(index, kept, scores, found)
    tables.write_csv(rows, COLUMNS, folder / "neighbours.csv")
    draw(folder / "neighbours.png", network, kept[:SHEET], rows, asked.neighbours)
    return describe_rows(rows, kept, described.damaged) + remark + f"\n{folder}: neighbours.csv, neighbours.png"


def find(vectors: np.ndarray, queries: np.ndarray, asked: Asked, own: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """`(scores, indices, what is to be told)`; of an approximate index its recall against the exact one."""
    exact = search.search(vectors, queries, asked.neighbours, own)
    if not asked.probes:
        return *exact, ""
    index = approximate.build(vectors)
    scores, found = approximate.search(index, vectors, queries, asked.neighbours, asked.probes, own)
    share = approximate.recall(found, exact[1])
    return (
        scores,
        found,
        f"\nfaiss, {asked.probes} of {index.nlist} lists: recall {100 * share:.1f} % of the exact index",
    )


def tabulate(index: Index, files: Sequence[str], scores: np.ndarray, found: np.ndarray) -> list[dict[str, Any]]:
    """A row an answer, see COLUMNS; a class is the name of a file's folder, right where it is the query's."""
    rows = []
    for query, values, places in zip(files, scores, found, strict=True):
        for place, (value, at) in enumerate(zip(values.tolist(), places.tolist(), strict=True), start=1):
            if at != NOBODY:
                name = index.names[at]
                right = loose.parent(name) == loose.parent(query)
                answers = (query, place, name, f"{value:.6f}", loose.parent(name), int(right), int(value > DUPLICATE))
                rows.append(dict(zip(COLUMNS, answers, strict=True)))
    return rows


def describe_rows(rows: Sequence[dict[str, Any]], files: Sequence[str], damaged: Sequence[str]) -> str:
    """The answers to the first query, and how many of all are right, or perhaps the query itself once more."""
    first = [row for row in rows if row["query"] == files[0]]
    cells = [(row["file"], row["cosine"], row["class"], "the same picture?" * row["duplicate"]) for row in first]
    text = f"{files[0]}\n" + tables.format_table(("answer", "cosine", "class", ""), cells)
    if len(files) > 1:
        right, twice = (sum(row[what] for row in rows) for what in ("right", "duplicate"))
        text += (
            f"\n{len(files):,} queries: {right:,} of {len(rows):,} answers are of the query's class, a folder's name"
        )
        text += f"; {twice:,} have a cosine above {DUPLICATE}, perhaps the same picture" * bool(twice)
    if damaged:
        text += f"\n{len(damaged):,} queries cannot be decoded: " + "; ".join(damaged[:NAMED])
    return text


def draw(path: Path, network: Network, files: Sequence[str], rows: Sequence[dict[str, Any]], neighbours: int) -> None:
    """The sheet of the first queries: each with its answers, what is right framed green."""
    from cnn_jax.report import examples  # matplotlib takes a second to import

    pictures, captions, frames = [], [], []
    for query in files:
        answers: list[Any] = [row for row in rows if row["query"] == query]
        shown = [query, *(row["file"] for row in answers)]
        pictures += [inputs.read_pixels(file, network.channels, network.decoding) for file in shown]
        captions += [(f"query: {loose.parent(query)}", ""), *((row["class"], row["cosine"]) for row in answers)]
        frames += [None, *(examples.RIGHT if row["right"] else None for row in answers)]
    columns = 1 + min(neighbours, max(len(rows) // max(1, len({row["query"] for row in rows})), 1))
    examples.save(
        examples.draw_sheet(pictures, captions, "queries, and the nearest of the index", columns, frames), path
    )
