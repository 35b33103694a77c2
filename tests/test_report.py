"""The report: exact tables, the artists of the figures, and a page that is whole, escaped and the same when rebuilt."""

import html.parser
import json

import pytest

from cnn_jax.report import tables
from cnn_jax.report.curves import rate_changes, read_overlay
from cnn_jax.report.plots import GREY
from cnn_jax.studies import degradation
from cnn_jax.studies.degradation import figures
from cnn_jax.train.record import RecordError, read_runs
from cnn_jax.train.task import ERROR

SIZES = {20: 269_722, 56: 853_018}
MEASURED = {("plain", 20): 0.09, ("plain", 56): 0.13, ("resnet", 20): 0.08, ("resnet", 56): 0.07}
WRITTEN = ("results.csv", "claims.json", "report.html", "fig6.svg", "fig6.png", "error_against_depth.svg")


def write_run(workdir, net, depth, seed, *, test=0.09, state="finished", points=4, dataset="cifar10", error="nan loss"):
    """A run folder as the engine leaves it, written by hand: 1000 steps, 250 an epoch, one drop of the rate."""
    folder = workdir / f"{net}{depth or ''}-s{seed}-{dataset}"
    folder.mkdir(parents=True)
    config = {"model": {"name": f"{net}{depth or ''}", "width": 16}, "data": {"name": dataset}, "steps": 1000}
    (folder / "config.json").write_text(json.dumps(config | {"optim": {"boundaries": [0.625, 0.75]}, "seed": seed}))
    lines = [
        {
            "step": 250 * i,
            "epoch": float(i),
            "learning_rate": 0.1 if i < 3 else 0.01,
            "train_loss": 1.0,
            "test_loss": 1.0,
        }
        | {"train_error": test / 2 + 0.1 / i, "test_error": test + 0.1 / i + 0.001 * seed}
        for i in range(1, points + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if state == "failed":
        (folder / "failure.json").write_text(json.dumps({"error": error, "step": 700}))
    if state == "finished":
        final = {"parameters": SIZES.get(depth, 1), "steps": 1000, "train_error": test / 2, "seconds": 12.5}
        final |= {"test_error": test + 0.001 * seed, "best_test_error": test - 0.001}
        (folder / "result.json").write_text(json.dumps(final))
    manifest = {"versions": {"jax": "0.10.2"}, "devices": ["cpu:0"], "command": "./launch.sh <b>sweep</b>"}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def write_study(workdir, seeds=3):
    for (net, depth), test in MEASURED.items():
        for seed in range(seeds):
            write_run(workdir, net, depth, seed, test=test)
    return workdir


class Reader(html.parser.HTMLParser):
    """Collects tags, attributes and text; `open` is empty at the end when every element is closed."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.words, self.open = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def read_page(workdir):
    reader = Reader()
    reader.feed((workdir / "report.html").read_text())
    return reader


def test_csv_is_exact_and_leaves_out_what_is_not_finished(tmp_path):
    write_run(tmp_path, "resnet", 20, 1, test=0.08)
    write_run(tmp_path, "plain", 56, 0, state="failed")
    write_run(tmp_path, "plain", 20, 0, test=0.1)
    write_run(tmp_path, "plain", 20, 2, state="unfinished")
    tables.write_csv(tables.results(read_runs(tmp_path)), tables.columns(ERROR), tmp_path / "results.csv")
    assert (tmp_path / "results.csv").read_text() == (
        "kind,depth,seed,parameters,train_error,test_error,test_error_at_best_validation,best_test_error,seconds\n"
        "plain,20,0,269722,0.05,0.1,,0.099,12.5\n"
        "residual,20,1,269722,0.04,0.081,,0.079,12.5\n"
    )


def test_summary_has_means_and_sample_deviations(tmp_path):
    rows = tables.summary(tables.results(read_runs(write_study(tmp_path))), tables.metrics(ERROR))
    assert [(row["kind"], row["depth"], row["n"]) for row in rows] == [
        ("plain", 20, 3), ("plain", 56, 3), ("residual", 20, 3), ("residual", 56, 3),
    ]  # fmt: skip
    assert rows[0]["test_error"]["mean"] == pytest.approx(0.091)
    assert rows[0]["test_error"]["sd"] == pytest.approx(0.001)
    assert rows[0]["test_error_at_best_validation"] == {"mean": None, "sd": None, "n": 0}


def test_rebuilding_gives_the_same_bytes(tmp_path):
    write_study(tmp_path, seeds=1)
    degradation.write(tmp_path)
    first = {name: (tmp_path / name).read_bytes() for name in WRITTEN}
    degradation.write(tmp_path)
    assert first == {name: (tmp_path / name).read_bytes() for name in WRITTEN}
    assert not list(tmp_path.glob(".*"))  # no temporary file stays


def test_page_is_whole_self_contained_and_escaped(tmp_path):
    write_study(tmp_path)
    write_run(tmp_path, "plain", 56, 3, state="failed", error='<script>alert("x")</script>')
    text = degradation.write(tmp_path)
    reader = read_page(tmp_path)
    assert reader.open == []
    assert "script" not in reader.tags and "link" not in reader.tags and "b" not in reader.tags
    sources = [value for name, value in reader.attributes if name in ("src", "href")]
    assert len(sources) == 2 and all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert "http" not in (tmp_path / "report.html").read_text().replace("".join(sources), "").lower()
    ids = [value for name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    words = " ".join(reader.words)
    assert words.count("PASS") == text.count("PASS:") == 3
    assert '<script>alert("x")</script> (at step 700)' in words
    assert "plain-56 seed 3 failed and is in no mean" in words and "plain-56 seed 3 failed" in text
    assert "6.97" in words  # the paper's ResNet-56


def test_runs_that_cannot_be_compared_are_marked(tmp_path):
    write_run(tmp_path, "plain", 20, 0)
    write_run(tmp_path, "plain", 56, 0, dataset="digits")
    degradation.write(tmp_path)
    words = " ".join(read_page(tmp_path).words)
    assert "several datasets (cifar10, digits)" in words and "The runs are not comparable" in words


def curves_of(axes, state):
    return [line for line in axes.get_lines() if str(line.get_label()).startswith(f"{state} ")]


def test_fig6_has_dashed_training_and_solid_test_curves_of_one_colour_a_depth(tmp_path):
    figure = figures.fig6(read_runs(write_study(tmp_path)))
    plain, residual = figure.axes
    for axes in (plain, residual):
        lines = curves_of(axes, "finished")
        assert [line.get_linestyle() for line in lines] == ["--", "-", "--", "-"]
        assert lines[1].get_linewidth() > lines[0].get_linewidth()
        assert len(axes.collections) == 4  # a band a curve
        assert axes.get_ylim() == (0, 20)
        assert [line.get_xdata()[0] for line in axes.get_lines() if line.get_color() == GREY] == [625, 750]
    assert [x.get_color() for x in curves_of(plain, "finished")] == [
        x.get_color() for x in curves_of(residual, "finished")
    ]
    assert [text.get_text() for text in residual.get_legend().get_texts()] == ["ResNet-20", "ResNet-56"]
    # 9 % + 10 %, and 0.1 % a seed: the mean of the first point of plain-20
    assert curves_of(plain, "finished")[1].get_ydata()[0] == pytest.approx(19.1)
    assert figure.get_suptitle() == "CIFAR-10, width 16, 3 seeds a net"


def test_fig6_makes_room_for_a_net_that_fails_to_learn(tmp_path):
    write_run(tmp_path, "plain", 20, 0)
    write_run(tmp_path, "plain", 56, 0, test=0.8)
    (axes,) = figures.fig6(read_runs(tmp_path)).axes
    assert axes.get_ylim()[1] >= 85


@pytest.mark.parametrize(
    "runs",
    [
        [("plain", 20, 0, "finished", 4)],
        [("resnet", 20, 0, "unfinished", 2), ("plain", 20, 0, "failed", 1)],
        [("plain", 20, 0, "unfinished", 0)],
        [("lenet5", None, 0, "finished", 3), ("resnet", 20, 0, "finished", 1)],
    ],
    ids=["one", "none finished", "nothing measured", "another net"],
)
def test_small_and_partial_studies_are_drawn(tmp_path, runs):
    for net, depth, seed, state, points in runs:
        write_run(tmp_path, net, depth, seed, state=state, points=points)
    degradation.write(tmp_path)
    figure = figures.fig6(read_runs(tmp_path))
    assert len(figure.axes) == len(runs)
    for axes in figure.axes:
        named = [text.get_text() for text in axes.get_legend().get_texts()] if axes.get_legend() else []
        for state in ("unfinished", "failed"):
            assert bool(curves_of(axes, state)) == any(f"({state})" in name for name in named)


def test_error_against_depth_has_means_dots_and_the_papers_numbers(tmp_path):
    train, test = figures.error_against_depth(read_runs(write_study(tmp_path))).axes
    means = [container.lines[0] for container in test.containers]
    assert [list(line.get_ydata()) for line in means] == [pytest.approx([9.1, 13.1]), pytest.approx([8.1, 7.1])]
    assert [len(line.get_xdata()) for line in test.get_lines() if line.get_label() == "_seeds"] == [6, 6]
    (paper,) = (line for line in test.get_lines() if "He et al." in str(line.get_label()))
    assert list(paper.get_ydata()) == pytest.approx([8.75, 6.97])
    assert not any("He et al." in str(line.get_label()) for line in train.get_lines())


def test_the_learning_rate_drops_where_the_config_says(tmp_path):
    write_run(tmp_path, "plain", 20, 0)
    (run,) = read_runs(tmp_path)
    other = run._replace(config=run.config | {"steps": 500})
    assert rate_changes([run, run]) == [625, 750]
    assert rate_changes([run, other]) == []


def test_a_bad_overlay_is_one_line_and_writes_nothing(tmp_path):
    write_run(tmp_path, "plain", 20, 0)
    overlay = tmp_path / "overlay.csv"
    for content, message in (("kind,depth\nplain,20\n", "lacks the columns epoch, train_error, test_error"), (
        "kind,depth,epoch,train_error,test_error\nplain,deep,1,1,1\n", "cannot read overlay")):  # fmt: skip
        overlay.write_text(content)
        with pytest.raises(RecordError, match=message) as caught:
            degradation.write(tmp_path, overlay)
        assert "\n" not in str(caught.value)
    with pytest.raises(RecordError, match="cannot read overlay"):
        degradation.write(tmp_path, tmp_path / "absent.csv")
    assert not (tmp_path / "report.html").exists()


OVERLAY = [["kind", "depth", "epoch", "train_error", "test_error"], ["plain", "20", "1.5", "0.25", "0.5"]]


@pytest.mark.parametrize(
    ("delimiter", "end", "encoding", "decimal"),
    [
        (",", "\n", "utf-8-sig", "."),
        (";", "\r\n", "utf-8-sig", ","),
        ("\t", "\r\n", "utf-16", ","),
        (" , ", "\r", "utf-8", "."),
    ],
)
def test_an_overlay_is_read_however_a_spreadsheet_saved_it(delimiter, end, encoding, decimal, tmp_path):
    lines = [delimiter.join(value.replace(".", decimal) for value in line) for line in [*OVERLAY, [""] * 5]]
    path = tmp_path / "overlay.csv"
    path.write_bytes((end.join(lines) + end).encode(encoding))
    assert read_overlay(path) == [("plain", 20, 1.5, 0.25, 0.5)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lacks the columns kind, depth, epoch, train_error, test_error: it is empty"),
        (b"kind|depth\n", r"lacks the columns .*; its columns are kind\|depth"),
        (b"kind,depth,epoch,train_error,test_error\nplain,20,1,0.5\n", "a line without 'test_error'"),
        (
            b"kind,depth,epoch,train_error,test_error\nplain,20,1,0.5,12 %\n",
            "could not convert string to float: '12 %'",
        ),
        (b"\xff\xd8\xff\xe0", "codec can't decode"),
    ],
)
def test_what_is_no_overlay_is_one_line(content, message, tmp_path):
    (tmp_path / "overlay.csv").write_bytes(content)
    with pytest.raises(RecordError, match=message) as caught:
        read_overlay(tmp_path / "overlay.csv")
    assert "\n" not in str(caught.value)


def test_published_curves_lie_on_the_studys_axis(tmp_path, real_data):
    path = real_data / "curves" / "cifar10_fig6.csv"
    plain, residual = figures.fig6(read_runs(write_study(tmp_path)), path).axes
    for axes in (plain, residual):
        lines = curves_of(axes, "published")
        assert len(lines) == 8 and {line.get_linestyle() for line in lines} == {"-", "--"}
        assert list(lines[0].get_xdata()) == [250, 500, 750, 1000]  # 250 steps an epoch, no further than the study
    first = read_overlay(path)[0]
    assert lines[0].get_ydata()[0] != curves_of(plain, "published")[0].get_ydata()[0] == 100 * first.train_error
