"""Scores a folder of pictures against real ones.

The pictures may come from any program. They are measured as they are: 8-bit grey or RGB, all of one
size, the same number on both sides. The classifier of stage `features` is used only if --reference
is a prepared split; the Inception network is used if features.extractors in params.yaml has it.
"""

import argparse
from collections.abc import Sequence

from evaluation.comparing.leaderboard import SAME
from evaluation.comparing.reference_rows import FLOOR
from evaluation.comparing.tables import in_words
from evaluation.comparing.value_text import interval, number
from evaluation.measuring.records import Record
from pipelines.comparing.folder_scores import planned, read, score, score_statistics
from pipelines.settings import command_line, files, params, paths
from pipelines.settings.errors import exit_on_user_error

EXAMPLES = """\
examples:
  genmodels score samples/                              against the prepared test split
  genmodels score samples/ --reference photos/ --metric fid c2st_pixel
  genmodels score samples/ --reference cifar10.npz      the FID to published statistics
  genmodels score samples/ --dry-run                    what would be computed, and what it needs
"""
FLOORS = (
    "held-out: real images of the validation split, with the same protocol; by theory: expected "
    "value of the same number of real images"
)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_line.parser("score", __doc__, EXAMPLES)
    parser.add_argument(
        "folder", metavar="DIR", help="folder of pictures to score, subfolders included"
    )
    parser.add_argument(
        "--reference",
        metavar="DIR|SPLIT|NPZ",
        default="test",
        help="real images: a folder, a prepared split (train, valid, test), or an .npz file with "
        "mu and sigma of Inception features (default: %(default)s)",
    )
    parser.add_argument(
        "--train",
        metavar="DIR|SPLIT",
        help="training images, for the memorisation metrics: a folder or a prepared split "
        "(default: train if --reference is valid or test, else none)",
    )
    parser.add_argument(
        "--metric",
        nargs="+",
        default=[],
        metavar="NAME",
        help="metrics to compute, names of files in evaluation/metrics/ (default: those of "
        "evaluate.metrics in params.yaml that need images only)",
    )
    parser.add_argument(
        "--max-samples",
        type=command_line.whole_number(2),
        default=10_000,
        metavar="N",
        help="largest number of images on each side, 2 or more (default: %(default)s); of more a "
        "random subset is used",
    )
    parser.add_argument("--out", metavar="FILE.json", help="file for the records (default: none)")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="list the metrics and what each needs, and compute nothing",
    )
    options = parser.parse_args(arguments)
    if options.reference.endswith(".npz") and (options.dry_run or options.metric or options.train):
        parser.error(
            "--reference FILE.npz gives fid_inception only, without --metric, --train and --dry-run"
        )
    return options


def _held_out(records: Sequence[Record]) -> dict[str, float]:
    """By metric the value of held-out real images, if it was measured with the same protocol."""
    path = paths.REFERENCES / "rows.json"
    if not path.is_file():
        return {}
    floors = files.read_json(path, "dvc repro references")["rows"][FLOOR]["records"]
    return {
        record["name"]: floor["value"]
        for record in map(Record.to_dict, records)
        if (floor := floors.get(record["name"])) is not None
        and floor["value"] is not None
        and all(record[key] == floor[key] for key in SAME)
    }


def _table(records: Sequence[Record]) -> str:
    """One line per value: direction, value, floors, then interval or reason."""
    floors = _held_out(records)
    width = max(len(record.name) for record in records)
    lines = []
    for record in records:
        arrow = {True: "↑", False: "↓", None: " "}[record.higher_is_better]
        parts = [f"{record.name:{width}} {arrow} {number(record.value, 4):>12}"]
        if record.name in floors:
            parts.append(f"held-out {number(floors[record.name], 4)}")
        if "iid_floor" in record.params:
            parts.append(f"by theory {number(record.params['iid_floor'], 4)}")
        if record.reason:
            parts.append(in_words(record.reason))
        elif record.params.get("rank_deficient"):
            parts.append("fewer images than features: the value is mostly bias")
        elif record.interval:
            bounds = interval((record.interval["low"], record.interval["high"]), 4)
            parts.append(f"{bounds} ({record.interval['method']})")
        lines.append("  ".join(parts))
    first = records[0]
    sides = "on each side" if first.n_real is not None else "against statistics"
    num = first.n_real if first.n_fake is None else first.n_fake
    lines.append(
        f"{num:,} images {sides}; reference {first.reference['dataset']} "
        f"{first.reference['split']}, sha256 {first.reference['sha256'][:8]}"
    )
    if floors or any("iid_floor" in record.params for record in records):
        lines.append(FLOORS)
    return "\n".join(lines)


@exit_on_user_error
def main() -> None:
    """Runs the command."""
    options = parse()
    out = files.out_file(options.out, "--out") if options.out else None
    settings = params.load()
    if options.reference.endswith(".npz"):
        records = score_statistics(settings, options.folder, options.reference, options.max_samples)
    else:
        task = read(
            settings,
            images=options.folder,
            reference=options.reference,
            train=options.train,
            metrics=options.metric,
            max_samples=options.max_samples,
        )
        if options.dry_run:
            print(planned(task))
            return
        records = score(task)
    print(_table(records))
    if out:
        files.write_json(out, [record.to_dict() for record in records])


if __name__ == "__main__":
    main()
