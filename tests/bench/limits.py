"""What a bench says of a bound that was asked for."""


def verdict(value: float, limit: float) -> str:
    """`within the limit` or, so that nobody reads over it, `ABOVE the limit`."""
    return f"{'within' if value <= limit else 'ABOVE'} the limit"
