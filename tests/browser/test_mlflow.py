"""The pages of the MLflow UI that `make ui` names, as a person sees them."""

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.browser.conftest import Watched
from tests.clone import PRESETS

pytestmark = pytest.mark.slow

RUNS = [f"{name}-s{seed}-" for name in PRESETS for seed in (0, 1)]
#: The page's own: it asks who the user is, which a server without users does not know; and a chart
#: that is resized while it is drawn says so.
OF_MLFLOW = ("/mlflow/users/current", "ResizeObserver loop")

#: The metric columns of the table from left to right: it orders them a moment after it drew them.
METRICS = """() => {
    const left = cell => cell.getBoundingClientRect().left;
    return [...document.querySelectorAll('.ag-header-cell')]
        .filter(cell => (cell.getAttribute('col-id') || '').startsWith('metrics.'))
        .sort((a, b) => left(a) - left(b))
        .map(cell => cell.getAttribute('col-id'));
}"""
RANKED = f"() => {{ const ids = ({METRICS})(); return ids.length > 1 && ids[0].includes('fid_'); }}"


@pytest.fixture
def mlflow(watched: Watched, links: dict[str, str]) -> Iterator[Watched]:
    """A page that in the end has asked our server only and told of no error but MLflow's own."""
    yield watched
    assert watched.hosts == {urlsplit(links["leaderboard"]).netloc}
    assert [e for e in watched.errors if not any(own in e for own in OF_MLFLOW)] == []


def test_a_foreign_host_is_refused(links: dict[str, str]) -> None:
    server = f"http://{urlsplit(links['leaderboard']).netloc}"
    search = f"{server}/api/2.0/mlflow/experiments/search?max_results=1"
    urllib.request.urlopen(search).close()
    foreign = urllib.request.Request(search, headers={"Host": "example.org"})
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        urllib.request.urlopen(foreign)
    refused.value.close()


def test_the_leaderboard_shows_all_runs_with_the_metric_that_ranks_first(
    mlflow: Watched, links: dict[str, str]
) -> None:
    page = mlflow.open(links["leaderboard"])
    for name in RUNS:
        page.get_by_text(name).first.wait_for()
    page.wait_for_function(RANKED)
    assert page.evaluate(METRICS)[0] == "metrics.`evaluate/fid_classifier`"
    assert page.get_by_text("What type of experiment").count() == 0
    head = page.locator(".ag-header-cell[col-id='metrics.`evaluate/fid_classifier`']")
    text = head.locator(".ag-header-cell-text, span").first
    assert text.evaluate("cell => cell.scrollWidth <= cell.clientWidth + 1"), "the name is cut"
    mlflow.picture("leaderboard")


def test_runs_are_grouped_by_model(mlflow: Watched, links: dict[str, str]) -> None:
    page = mlflow.open(links["by model"])
    for name in PRESETS:
        page.get_by_text(f"Group: {name}", exact=True).first.wait_for()
    mlflow.picture("by_model")


def test_the_curves_of_two_models_share_a_chart(mlflow: Watched, links: dict[str, str]) -> None:
    page = mlflow.open(links["curves"])
    page.get_by_text("valid/elbo", exact=True).first.wait_for()
    card = page.locator("[data-testid='experiment-view-compare-runs-card']").filter(
        has=page.get_by_text("valid/elbo", exact=True)
    )
    traces = card.locator(".scatterlayer .trace")
    traces.nth(7).wait_for(state="attached")
    # Two for each of four runs: two models, two seeds. The GAN's are in the legend only.
    assert traces.count() == 8
    drawn = set(re.findall(r"\b(\w+)-s([01])-", card.inner_text()))
    assert drawn >= {(name, seed) for name in ("vae", "conditional_vae") for seed in "01"}
    mlflow.picture("curves")


def test_a_run_describes_itself_and_shows_its_grid(mlflow: Watched, links: dict[str, str]) -> None:
    page = mlflow.open(links["leaderboard"])
    page.get_by_text("conditional_vae-s0-").first.click()
    page.get_by_text("metric (test split)").first.wait_for()
    shown = "document.querySelector('img[src*=\"samples.png\"]')"
    page.wait_for_function(f"() => {shown}?.naturalWidth > 100")
    mlflow.picture("run")
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("evaluate", exact=True).first.click()
    page.get_by_text("samples.png", exact=True).first.click()
    page.wait_for_function(
        "() => [...document.querySelectorAll('img, canvas')]"
        ".some(shown => shown.getBoundingClientRect().width > 100)"
    )
    mlflow.picture("run_artifacts")


def test_the_report_opens_as_an_artifact(mlflow: Watched, links: dict[str, str]) -> None:
    page = mlflow.open(links["reports"])
    page.get_by_text("report-").first.click()
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("index.html", exact=True).first.click()
    frame = page.frame_locator("iframe")
    frame.get_by_role("heading", name="Generative models compared").wait_for()
    mlflow.picture("report_artifact")


def test_the_registered_model_shows_its_aliases(mlflow: Watched, links: dict[str, str]) -> None:
    page = mlflow.open(links["registry"])
    for alias in ("champion", "best-vae", "best-gan"):
        page.get_by_text(alias, exact=False).first.wait_for()
    mlflow.picture("registry")
