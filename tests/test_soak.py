"""The soak in its quick form, a few kills; the long one is under experiments/results/soak."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow  # test_resume and test_faults kill runs at chosen moments, test_stream_resume stops streamed ones
def test_a_few_kills_change_no_bit(tmp_path):
    command = [
        sys.executable,
        "-m",
        "tests.soak",
        "--kills=3",
        "--kinds=streamed",
        f"--workdir={tmp_path / 'soak'}",
    ]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=root, env=os.environ)
    assert done.returncode == 0, done.stdout + done.stderr
    soak = json.loads((tmp_path / "soak" / "soak.json").read_text())
    assert sum(row["kills"] for row in soak["rows"]) >= 3 and soak["wrong"] == []
    runs = {row["what"]: (row["runs"], row["ended equal"]) for row in soak["rows"]}
    assert all(equal == count > 0 for count, equal in runs.values())
