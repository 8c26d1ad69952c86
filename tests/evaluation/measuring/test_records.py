import json
import math

import pytest

from evaluation.measuring.records import Record


def record(**changed) -> Record:
    fields = {
        "name": "fid_classifier",
        "value": 3.41,
        "unit": "percent of real feature variance",
        "n_real": 1000,
        "n_fake": 1000,
        "reference": {"dataset": "mnist5k", "split": "test", "sha256": "ab"},
        "extractor": "sha256:cd",
        "seed": {"train": 0, "sample": 0, "metric": 0},
        "higher_is_better": False,
        "ideal": 0.0,
        "order": "quality",
    }
    return Record(**(fields | changed))


def test_a_record_has_the_documented_fields_in_their_order() -> None:
    assert list(record().to_dict()) == [
        "name", "value", "unit", "n_real", "n_fake", "reference", "extractor", "seed",
        "higher_is_better", "ideal", "order", "params", "interval", "reason",
    ]  # fmt: skip


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_json_cannot_hold_becomes_null_with_a_reason(value: float) -> None:
    made = record(value=value, interval={"low": value})
    assert (made.value, made.interval, made.reason) == (None, None, "non_finite_value")
    assert json.loads(json.dumps(made.to_dict(), allow_nan=False))["value"] is None


@pytest.mark.parametrize("changed", [{"value": None}, {"reason": "not_supported"}])
def test_a_record_has_either_a_value_or_a_reason(changed: dict) -> None:
    with pytest.raises(ValueError, match="either a value or a reason"):
        record(**changed)
