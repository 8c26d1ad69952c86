"""The scores of a folder of pictures as lines of text, each with its floor."""

from collections.abc import Mapping, Sequence

from evaluation.comparing.leaderboard import SAME
from evaluation.comparing.reference_rows import FLOOR
from evaluation.comparing.tables import in_words
from evaluation.comparing.value_text import interval, number
from evaluation.measuring.records import Record
from pipelines.settings import files, paths

FLOORS = (
    "held-out: real images of the validation split, with the same protocol; by theory: expected "
    "value of the same number of real images"
)


def held_out(records: Sequence[Record]) -> dict[str, float]:
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


def table(records: Sequence[Record], floors: Mapping[str, float]) -> str:
    """One line per value: direction, value, floors, then interval or reason.

    Args:
        records: At least one.
        floors: Values of held-out real images, by name.
    """
    width = max(len(record.name) for record in records)
    lines = [_line(record, width, floors) for record in records]
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


def _line(record: Record, width: int, floors: Mapping[str, float]) -> str:
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
    return "  ".join(parts)
