"""The table and figure of other people's networks by depth."""

import csv

from cnn_jax.studies import published_depth as published
from cnn_jax.studies.published_depth import Evaluated


def test_each_network_stands_beside_the_papers_number(tmp_path):
    nets = [
        Evaluated("plain32", "amartyn", "cifar10", 10_000, 464_154, 0.1004),
        Evaluated("resnet32", "akamaster", "cifar10", 10_000, 464_154, 0.0737),
        Evaluated("resnet32", "akamaster", "mnist", 10_000, 464_154, 0.01),
    ]
    lines = published.write(nets, tmp_path).splitlines()
    assert lines[2:] == [
        "| plain32 | amartyn | 464,154 | 10.04 | – |",
        "| resnet32 | akamaster | 464,154 | 7.37 | 7.51 |",  # He et al. 2016, Table 6
        "| resnet32 | akamaster | 464,154 | 1.00 | – |",
    ]
    with open(tmp_path / "published_depth.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["source"], float(row["test_error"]), row["paper"]) for row in rows] == [
        ("plain32", "amartyn", 0.1004, ""),
        ("resnet32", "akamaster", 0.0737, "0.0751"),
        ("resnet32", "akamaster", 0.01, ""),
    ]
    axes = published.figure(nets[:2]).axes[0]
    assert {tuple(line.get_xydata()[0].round(2)) for line in axes.lines} == {(32, 10.04), (32, 7.37), (32, 7.51)}
