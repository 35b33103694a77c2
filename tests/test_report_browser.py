"""The page as a real browser sees it: headless chromium lays it out; skipped where there is none."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from cnn_jax.studies import degradation
from tests.test_report import write_run, write_study

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip


@pytest.fixture(scope="module")
def chromium():
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium on the PATH: the page was not looked at in a browser (apt-get install chromium)")
    return path


def browse(chromium, profile, url, *flags):
    """Standard output of one headless visit."""
    command = [chromium, *FLAGS, f"--user-data-dir={profile}", *flags, url]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def test_the_page_in_a_browser(chromium, tmp_path):
    study = write_study(tmp_path / "study")
    write_run(study, "plain", 56, 3, state="failed", error="<script>document.title = 'taken'</script>")
    degradation.write(study)
    address = (study / "report.html").as_uri()
    # The wrapper measures what the browser laid out; the page itself holds no script.
    wrapper = tmp_path / "wrapper.html"
    measure = """onload = () => document.body.dataset.sizes = JSON.stringify(
      [...frames[0].document.querySelectorAll("img")].map(i => [i.naturalWidth, i.clientWidth, i.clientHeight]))"""
    wrapper.write_text(f'<body><iframe src="{address}" width="1000" height="900"></iframe><script>{measure}</script>')
    sizes = browse(chromium, tmp_path / "p", wrapper.as_uri(), "--allow-file-access-from-files", "--dump-dom")
    numbers = [
        int(n) for n in sizes.split('data-sizes="')[1].split('"')[0].replace("[", "").replace("]", "").split(",")
    ]
    assert len(numbers) == 6 and all(n > 200 for n in numbers)

    dom = browse(chromium, tmp_path / "p", address, "--dump-dom")
    assert dom.count('<span class="badge pass">PASS</span>') == 3
    assert "<title>Degradation study: CIFAR-10, width 16, 3 seeds a net</title>" in dom

    shot = tmp_path / "shot.png"
    browse(chromium, tmp_path / "p", address, f"--screenshot={shot}", "--window-size=500,2000")
    with Image.open(shot) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape == (2000, 500, 3)
    for colour in ((0xE6, 0x9F, 0x00), (0x00, 0x72, 0x4F)):  # a curve of Fig. 6, and the badge of a PASS
        assert (np.abs(pixels.astype(int) - colour).max(axis=-1) < 12).sum() > 50
