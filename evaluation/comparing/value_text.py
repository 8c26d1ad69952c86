"""The one printer of values, for terminal, Markdown, HTML and CSV: numbers, spreads, intervals."""

import math
from collections.abc import Iterable

MINUS = "\N{MINUS SIGN}"
MISSING = "\N{EN DASH}"


def decimals(values: Iterable[float | None]) -> int:
    """Digits after the decimal point for a whole column, so that its points are aligned.

    About three digits of the largest value, and up to two more where another would print as zero.
    """
    sizes = [abs(value) for value in values if value]
    if not sizes:
        return 2
    top = max(sizes)
    fewest = 3 if top <= 1 else 2 if top < 100 else 1 if top < 10_000 else 0
    places = min(max(2 - math.floor(math.log10(top)), fewest), 8)
    most = places + 2
    while places < most and min(sizes) < 0.5 * 10**-places:
        places += 1
    return places


def number(value: float | None, places: int) -> str:
    """A value with a true minus sign, no negative zero, a dash if it is missing."""
    if value is None:
        return MISSING
    text = f"{value:,.{places}f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text.replace("-", MINUS)


def signed(value: float, places: int) -> str:
    """A difference, with its sign: `+1.20`, `−0.30`, `0.00`."""
    text = number(value, places)
    return f"+{text}" if value > 0 and float(text.replace(",", "")) else text


def rounded(value: float | None) -> str:
    """A single value in four significant digits; a dash if it is missing."""
    return MISSING if value is None else f"{value:.4g}".replace("-", MINUS, value < 0)


def rounded_mean_and_sd(mean: float, sd: float | None) -> str:
    """A single mean in four significant digits, its standard deviation in two: `3.414 ± 0.12`."""
    return rounded(mean) + ("" if sd is None else f" ± {sd:.2g}")


def mean_and_sd(mean: float | None, sd: float | None, places: int) -> str:
    """`3.41 ± 0.12`, or the mean alone where one seed has no spread."""
    return number(mean, places) + ("" if sd is None else f" ± {number(sd, places)}")


def interval(bounds: tuple[float, float] | None, places: int) -> str:
    """`[1.24, 1.29]`; empty if there is no interval."""
    return f"[{', '.join(number(bound, places) for bound in bounds)}]" if bounds else ""


def count(value: int) -> str:
    """A count in three digits: 842, 12.3 k, 4.56 M, up to 999 T."""
    for scale, suffix in ((1, ""), (1e3, " k"), (1e6, " M"), (1e9, " G"), (1e12, " T")):
        digits = f"{value / scale:.3g}"
        if float(digits) < 1000:  # after rounding, so that 999,999 is 1 M
            return digits + suffix
    return f"{value:.2e}"
