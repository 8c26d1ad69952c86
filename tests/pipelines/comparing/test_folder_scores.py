import pytest

from pipelines import features
from pipelines.comparing import folder_scores
from pipelines.settings import paths
from pipelines.settings.errors import UserError
from tests.pipelines.pictures_on_disk import Means, Settings, write_classes, write_pictures
from tests.pipelines.test_features import SETTINGS, prepare


@pytest.mark.parametrize(("reference", "known"), [("test", "train"), ("train", "none")])
def test_copies_are_looked_for_in_the_train_split_unless_it_is_the_reference(
    checkout, tmp_path, reference: str, known: str
) -> None:
    prepare(labelled=True)
    pictures = str(write_pictures(tmp_path / "samples", 5))
    task = folder_scores.read(
        Settings, images=pictures, reference=reference, train=None, metrics=["fid"], max_samples=30
    )
    assert task.train.split == known


def test_the_largest_number_of_samples_holds_for_every_side_but_the_train_set(
    checkout, tmp_path
) -> None:
    folder = str(write_classes(tmp_path / "sorted"))
    task = folder_scores.read(
        Settings, images=folder, reference=folder, train=folder, metrics=["fid"], max_samples=7
    )
    assert [len(real.images) for real in (task.reference, task.train)] == [7, 20]
    assert len(task.images) == 7


def test_the_classifier_of_the_pipeline_judges_no_foreign_data(
    checkout, tmp_path, monkeypatch
) -> None:
    """Even of its own shape: it was trained on other classes. The Inception network stays."""
    prepare(labelled=True)
    features.make(SETTINGS)
    monkeypatch.setattr(folder_scores, "open_inception", lambda settings: Means())
    photos = str(write_pictures(tmp_path / "photos", 6))
    settings = Settings()
    settings.features = SETTINGS.model_copy(update={"extractors": ["classifier", "inception"]})
    task = folder_scores.read(
        settings, images=photos, reference=photos, train="train", metrics=["fid"], max_samples=30
    )
    classifier, inception = folder_scores.score(task)
    assert (classifier.name, classifier.reason) == ("fid_classifier", "classifier_of_other_data")
    assert (inception.name, inception.reason) == ("fid_inception", None)
    assert len(task.train.images) > 0


def test_another_shape_than_the_references_is_refused(checkout, tmp_path) -> None:
    prepare(labelled=True)
    features.make(SETTINGS)
    large = str(write_pictures(tmp_path / "large", 6, size=(20, 20)))
    with pytest.raises(UserError, match="20x20 grey, but the reference test is 12x12 grey"):
        folder_scores.read(
            Settings, images=large, reference="test", train=None, metrics=["fid"], max_samples=30
        )
    assert paths.FEATURES.is_dir()
