"""Letters for groups of models: two models that share a letter are not distinguishable."""

from collections.abc import Collection, Sequence


def groups(ranked: Sequence[str], distinct: Collection[tuple[str, str]]) -> dict[str, str]:
    """The compact letter display (Piepho 2004, insert and absorb).

    Args:
        ranked: The models from best to worst.
        distinct: The pairs that differ significantly.

    Returns:
        For each model its letters, `a` for the group of the best.
    """
    columns = [set(ranked)]
    for pair in distinct:
        for column in [c for c in columns if set(pair) <= c]:
            columns.remove(column)
            columns += [column - {name} for name in pair]
        columns = [c for c in columns if not any(c < other for other in columns)]
        columns = [c for i, c in enumerate(columns) if c not in columns[:i]]
    places = {name: place for place, name in enumerate(ranked)}
    columns.sort(key=lambda column: sorted(places[name] for name in column))
    return {
        name: "".join(chr(ord("a") + i) for i, column in enumerate(columns) if name in column)
        for name in ranked
    }
