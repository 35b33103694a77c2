"""The extractor and the index on disk: any device count, damaged pictures, killed and grown, of another network."""

import json
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from cnn_jax.config import ConfigError
from cnn_jax.data import DataError
from cnn_jax.data.preprocess import Preprocess
from cnn_jax.data.sources import loose
from cnn_jax.models import build
from cnn_jax.network import assemble, describe
from cnn_jax.retrieval import answering, approximate, descriptors, search, store
from cnn_jax.train.record import RecordError
from tests.networks import draw_variables
from tests.pictures import draw_picture

WANTED = "stage1:max+stage2:gem"
FILES = 11


def make_network(seed=0):
    model = build("resnet8", num_classes=4, width=4, image_size=8)
    variables = jax.tree.map(lambda leaf: np.asarray(leaf) + 0.01 * seed, draw_variables(model, np.zeros((1, 8, 8, 3))))
    return assemble(model, variables, describe(Preprocess(8, 8, (0.5,), (0.5,)), 3, tuple("abcd")))


@pytest.fixture(scope="module")
def network():
    return make_network()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures in two folders, one of them damaged."""
    root, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(FILES):
        place = root / ("ant", "bee")[number % 2]
        place.mkdir(exist_ok=True)
        draw_picture(draw, 12 + number, 16).save(place / f"{number:02}.png")
    (root / "bee" / "99.png").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def files(folder):
    return [path for path in loose.find([str(folder)]) if "99" not in path]


@pytest.fixture(scope="module")
def expected(network, files):
    """Picture by picture, without the extractor's batches."""
    found = [network.features(file, ["stage1", "stage2"]) for file in files]
    vectors = {
        part: np.concatenate([np.asarray(descriptors.POOLINGS[part.pooling](one[part.endpoint])) for one in found])
        for part in descriptors.parse(WANTED, network.endpoint_shapes())
    }
    return descriptors.combine(vectors, list(vectors))


def test_endpoints_are_told_in_the_networks_order(network):
    shapes = network.endpoint_shapes()
    assert list(shapes) == ["conv1", "stage1", "stage2", "stage3", "pool", "logits"]
    assert (shapes["stage2"], shapes["logits"]) == ((4, 4, 8), (4,))


def test_several_endpoints_are_those_one_by_one(network, files):
    both = network.features(files, ["stage2", "logits"], batch_size=4)
    assert list(both) == ["stage2", "logits"]
    for name, values in both.items():
        np.testing.assert_allclose(values, network.features(files, name, batch_size=4), rtol=1e-5, atol=1e-6)
    with pytest.raises(ConfigError, match="no endpoint 'stage9'"):
        network.features(files, ["stage2", "stage9"])


def test_every_device_count_gives_the_same_bits(network, files):
    """And a streamed split the same as its files."""
    parts = descriptors.parse(WANTED, network.endpoint_shapes())
    split = loose.open_files(files, (), network.decoding)
    found = [
        descriptors.gather(
            descriptors.describe(network, parts, images, batch_size=2, devices=jax.devices()[:count]), parts
        )
        for images, count in ((files, 1), (files, 2), (split, 2))
    ]
    for part in parts:
        for other in found[1:]:
            np.testing.assert_array_equal(other.vectors[part], found[0].vectors[part])
    assert found[1].indices.tolist() == list(range(FILES))


def test_a_damaged_picture_is_named_or_left_out(network, folder):
    everything = loose.find([str(folder)])
    with pytest.raises(DataError, match="99.png cannot be decoded"):
        list(network.stream(lambda _, image: image, everything))
    (part, *rest) = network.stream(lambda _, image: image, everything, skip_damaged=True)
    assert not rest and len(part.indices) == len(part.outputs) == FILES
    assert len(part.damaged) == 1 and "99.png cannot be decoded" in part.damaged[0]


def about(network, **changes):
    return {"network": store.identify(network), "descriptor": WANTED, "whitening": None} | changes


def add(folder, network, files, **options):
    known = store.begin(folder, about(network))
    return answering.add(folder, network, known, files, False, **options)


def test_an_index_that_is_killed_goes_on_and_grows(network, files, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "PART", 4)
    written, write = [], store.write_part

    def killed(*arguments):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(write(*arguments))

    monkeypatch.setattr(store, "write_part", killed)
    with pytest.raises(KeyboardInterrupt):
        add(tmp_path, network, files, batch_size=2)
    monkeypatch.setattr(store, "write_part", write)
    assert len(store.load(tmp_path).names) == 8
    assert "3 pictures added, 8 were there already; it has 11" in add(tmp_path, network, files, batch_size=2)
    assert "0 pictures added, 11 were there" in add(tmp_path, network, files)
    index = store.load(tmp_path)
    assert index.names == files
    np.testing.assert_allclose(index.vectors, expected, rtol=1e-4, atol=1e-6)


def test_an_index_answers_and_tells_what_is_twice(network, folder, files, tmp_path):
    text = add(tmp_path, network, loose.find([str(folder)]), skip_damaged=True)
    assert "11 pictures added" in text and "1 cannot be decoded and are left out:\n  " in text
    copy = tmp_path / "ant" / "copy.png"
    copy.parent.mkdir()
    Image.open(files[2]).save(copy)
    said = answering.answer(tmp_path, network, [files[0], str(copy)], answering.Asked(3))
    rows = [line.split(",") for line in (tmp_path / "neighbours.csv").read_text().splitlines()[1:]]
    assert [row[0] for row in rows] == 3 * [files[0]] + 3 * [str(copy)]
    assert files[0] not in [row[2] for row in rows[:3]]  # never its own answer
    assert rows[3][2] == files[2] and rows[3][5:] == ["1", "1"] and float(rows[3][3]) == pytest.approx(1, abs=1e-5)
    assert "2 queries: " in said and "above 0.99" in said
    assert (tmp_path / "neighbours.png").stat().st_size > 1000


def test_what_an_index_is_not_of_is_refused(network, files, tmp_path):
    with pytest.raises(RecordError, match="holds no index: --add=FOLDER makes one"):
        store.load(tmp_path)
    add(tmp_path, network, files[:3])
    with pytest.raises(RecordError, match="an index by another network, .*: its vectors mean nothing to this one"):
        store.begin(tmp_path, about(make_network(1)))
    with pytest.raises(RecordError, match="another network"):  # shown other pixels of an image
        store.begin(tmp_path, about(network._replace(scales=(9,))))
    with pytest.raises(RecordError, match="another descriptor, stage1:max"):
        store.begin(tmp_path, about(network, descriptor="logits"))
    part = tmp_path / "part-000000.npz"
    part.write_bytes(part.read_bytes()[:200])
    with pytest.raises(RecordError, match="part-000000.npz cannot be read .*; delete it, and add its images again"):
        store.load(tmp_path)


def test_whitening_is_of_the_index_and_follows_it(network, files, tmp_path):
    asked = {"dimensions": 4, "shrinkage": 0.5}
    store.begin(tmp_path, about(network, whitening=asked))
    known = json.loads((tmp_path / store.ABOUT).read_text())
    answering.add(tmp_path, network, known, files[:4], False)
    with pytest.raises(ConfigError, match="--whiten=4: the index has 4 images; add more"):
        store.fit_whitening(tmp_path, store.load(tmp_path))
    for count in (8, 11):
        answering.add(tmp_path, network, known, files[:count], False)
        index = store.load(tmp_path)
        first, again = (store.fit_whitening(tmp_path, index) for _ in range(2))
        assert first is not None and first.projection.shape == (24 // 2, 4)
        np.testing.assert_array_equal(first.projection, again.projection)
        np.testing.assert_allclose(first.mean, index.vectors.mean(axis=0), rtol=1e-5, atol=1e-6)


def test_faiss_finds_a_part_and_how_much_is_told():
    pytest.importorskip("faiss")
    draw = np.random.default_rng(0)
    vectors = descriptors.normalize(draw.normal(size=(2_000, 16)).astype(np.float32))
    own, asked = np.arange(50), vectors[:50]
    exact = search.search(vectors, asked, 10, own)[1]
    index = approximate.build(vectors)
    found = [approximate.search(index, vectors, asked, 10, probes, own)[1] for probes in (1, index.nlist)]
    assert approximate.recall(found[0], exact) < approximate.recall(found[1], exact) == 1
    assert not (found[1] == own[:, None]).any()
    asked[3, 3] = np.inf
    with pytest.raises(DataError, match="query 3 is not finite"):
        approximate.search(index, vectors, asked, 10, 4)


def test_without_faiss_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match="EXTRAS=retrieval ./launch.sh installs it"):
        approximate.import_faiss()


def test_recall_is_the_share_of_the_exact_answers():
    assert approximate.recall(np.array([[1, 2, -1], [5, 6, 7]]), np.array([[2, 3, -1], [7, 6, 5]])) == 4 / 5
