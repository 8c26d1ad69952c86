"""Results that the report does not take: one line each."""

from pathlib import Path

import pytest

from pipelines import report
from pipelines.reporting import inputs
from pipelines.settings import paths, sections
from pipelines.settings.errors import UserError
from tests.pipelines.report_project import MODELS, SHA, report_settings


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        ("outputs/prepare/manifest.json", "dvc repro prepare"),
        ("outputs/features/card.json", "dvc repro features"),
        ("outputs/references/rows.json", "dvc repro references"),
        ("outputs/train/gan/1/history.csv", "dvc repro train@gan"),
        ("outputs/train/gan/0/config.json", "dvc repro train@gan"),
        ("outputs/evaluate/gan/records.json", "dvc repro evaluate@gan"),
        ("reports/metrics/gan.json", "dvc repro evaluate@gan"),
    ],
)
def test_a_missing_file_is_one_line_with_the_command(
    before_report: Path, missing: str, command: str
) -> None:
    (before_report / missing).unlink()
    with pytest.raises(SystemExit) as caught:
        report.main()
    message = str(caught.value)
    assert "\n" not in message
    assert missing in message
    assert f"`{command}`" in message
    assert not paths.REPORT.exists()


def test_results_of_other_seeds_are_refused(before_report: Path) -> None:
    with pytest.raises(UserError, match=r"holds seeds 0, 1, params.yaml asks for 0, 1, 2"):
        inputs.read(list(MODELS), [0, 1, 2])


@pytest.mark.parametrize("rank_by", ["fid_clasifier", "rate"])
def test_ranking_by_an_unknown_value_or_a_diagnostic_is_refused(
    before_report: Path, rank_by: str
) -> None:
    # Behind the check of params.yaml, which knows the metrics but not what the models could do.
    settings = report_settings().model_copy(
        update={"report": sections.Report(rank_by=rank_by, gates=[])}
    )
    with pytest.raises(UserError, match=f"report.rank_by: '{rank_by}'"):
        report.build(settings, inputs.read(settings.selected, settings.seeds))


def test_values_of_two_extractors_are_refused(before_report: Path) -> None:
    path = paths.EVALUATE / "gan_r1" / "records.json"
    path.write_text(path.read_text().replace(SHA, "0000" * 16))
    settings = report_settings()
    with pytest.raises(UserError, match="fid_classifier: vae and gan_r1 are not comparable: extra"):
        report.build(settings, inputs.read(settings.selected, settings.seeds))
