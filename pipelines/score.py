"""Scores a folder of pictures against real ones.

The pictures may come from any program. They are measured as they are: 8-bit grey or RGB, all of one
size, the same number on both sides. The classifier of stage `features` is used only if --reference
is a prepared split; the Inception network is used if features.extractors in params.yaml has it.
"""

import argparse

from pipelines.comparing.folder_scores import planned, read, score, score_statistics
from pipelines.comparing.score_table import held_out, table
from pipelines.pictures.out_file import out_file
from pipelines.settings import command_line, files, params
from pipelines.settings.errors import exit_on_user_error

EXAMPLES = """\
examples:
  genmodels score samples/                              against the prepared test split
  genmodels score samples/ --reference photos/ --metric fid c2st_pixel
  genmodels score samples/ --reference cifar10.npz      the FID to published statistics
  genmodels score samples/ --dry-run                    what would be computed, and what it needs
"""


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


@exit_on_user_error
def main() -> None:
    """Runs the command."""
    options = parse()
    out = out_file(options.out, "--out") if options.out else None
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
    print(table(records, held_out(records)))
    if out:
        files.write_json(out, [record.to_dict() for record in records])


if __name__ == "__main__":
    main()
