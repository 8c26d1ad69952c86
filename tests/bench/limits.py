"""The verdict of a benchmark on a limit."""


def verdict(value: float, limit: float) -> str:
    """`within the limit`, or `ABOVE the limit` in capitals, so that it is visible in a log."""
    return f"{'within' if value <= limit else 'ABOVE'} the limit"
