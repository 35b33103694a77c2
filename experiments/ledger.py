"""Every number the papers print about their networks, beside that of ours.

    ./launch.sh ledger
    ./launch.sh ledger --models=lenet5,resnet50 --csv=ledger.csv

Cost: half a minute; the networks are traced, none is run. Expected: every number equal, = (as printed: it rounds to
the printed digits), or a deviation with its name, ~. One that differs without, X, makes the exit status 1.
"""

import csv
import io

from absl import flags

from cnn_jax import ledger, models
from cnn_jax.config import ConfigError, suggest
from cnn_jax.models.published import ROWS
from cnn_jax.train.record import write_atomically
from experiments.flags import launcher

FLAGS = flags.FLAGS
flags.DEFINE_list("models", [], "Networks to compare, such as lenet5,resnet50; all of them if none is named.")
flags.DEFINE_string("csv", None, "File to write the numbers to as well.")

MARKS = {ledger.EQUAL: "=", ledger.ROUNDED: "=", ledger.DEVIATION: "~", ledger.DIFFERS: "X"}
COLUMNS = ("model", "settings", "quantity", "where", "value", "unit", "ours", "verdict", "deviation", "source")


def main() -> int:
    known = dict.fromkeys(row.model for row in ROWS)
    for name in FLAGS.models:
        models.get_constructor(name)
        if name not in known:
            raise ConfigError(f"--models={name}: nothing is printed of it; {suggest(name, known)}")
    entries, model = [], None
    for entry in ledger.make_entries(row for row in ROWS if not FLAGS.models or row.model in FLAGS.models):
        row = entry.row
        if row.model != model:
            model = row.model
            print(f"\n{model:<36}{'published':>26}{'ours':>16}")
        changed = "".join(f" {name}={value}" for name, value in row.settings.items())
        what = f"{row.quantity} {row.where}".strip() + changed
        note = f"  {row.deviation}" if row.deviation else ""
        print(f"{MARKS[entry.verdict]} {what:<36}{f'{row.value} {row.unit}':>24}{entry.ours:>16}{note}", flush=True)
        entries.append(entry)
    verdicts = [entry.verdict for entry in entries]
    print("\n" + ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in MARKS))
    if FLAGS.csv:
        text, path = io.StringIO(), launcher.expand_path(FLAGS.csv)
        fields = [entry.row._asdict() | entry._asdict() for entry in entries]
        rows = [[field[column] or "" for column in COLUMNS] for field in fields]
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.getvalue())
    return int(ledger.DIFFERS in verdicts)


if __name__ == "__main__":
    launcher.launch(main)
