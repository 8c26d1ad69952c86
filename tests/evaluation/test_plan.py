from evaluation.measuring.context import Seeds
from evaluation.measuring.extractors import MissingExtractor
from evaluation.plan import as_text, plan
from evaluation.runner import FixedImages, Settings, evaluate

SETTINGS = Settings(Seeds(train=0, sample=1, metric=2), max_samples=30, sample_sets=3)
MISSING = MissingExtractor("inception", "no_weights")


def test_a_plan_has_exactly_the_values_of_the_evaluation(
    model, extractor, reference, train
) -> None:
    names = ["fid", "mse", "discriminator"]
    planned = plan(model, names, [extractor, MISSING], SETTINGS)
    records = evaluate(
        model,
        names,
        reference=reference,
        train=train,
        extractors=[extractor, MISSING],
        settings=SETTINGS,
    ).records
    assert [value for one in planned for value in one.values] == [r.name for r in records]
    null = {value for one in planned if one.missing for value in one.values}
    assert null == {record.name for record in records if record.reason}
    assert [(one.metric, one.sets) for one in planned] == [
        ("fid", 3),
        ("fid", 3),
        ("mse", None),
        ("discriminator", 3),
    ]


def test_a_plan_has_the_reasons_of_nulls_and_calls_no_method(extractor) -> None:
    class Silent:
        def sample(self, n, rng):
            raise AssertionError

    fid, mse = plan(Silent(), ["fid", "mse"], [MISSING], SETTINGS)
    assert (fid.missing, mse.missing) == ("no_weights", "not_supported")
    assert mse.needs == ("Reconstructor",)


def test_a_set_of_images_is_one_set(make_pictures, extractor) -> None:
    (fid,) = plan(FixedImages(make_pictures(4, 0)), ["fid"], [extractor], SETTINGS)
    assert fid.sets == 1


def test_the_table_has_one_line_per_metric(extractor, make_pictures) -> None:
    text = as_text(plan(FixedImages(make_pictures(4, 0)), ["fid", "mse"], [extractor], SETTINGS))
    assert text.splitlines()[0].split() == ["metric", "values", "needs", "sample", "sets"]
    assert text.splitlines()[1].split() == ["fid", "fid_classifier", "Sampler", "1"]
    assert text.splitlines()[2].endswith("null: not supported")
