"""Trainings side by side: their ends, their messages, what stays of them."""

import pytest

from genmodels.training.loop import Trainer
from pipelines.settings import paths, sections
from pipelines.settings.errors import UserError
from pipelines.training.one_run import Finished, Started, Training, train_all
from tests.pipelines.tiny_rows import TINY, TRAIN, vae


def training(seed):
    return Training(
        model="vae",
        entry=vae(),
        seed=seed,
        train=sections.Train(**TRAIN),
        prepared=None,
        folder=paths.OUTPUTS / "models" / str(seed),
        checkpoint=paths.CHECKPOINTS / str(seed) / "checkpoint.pt",
        where="here",
    )


def test_the_ends_are_in_order_and_the_messages_name_their_training(prepared):
    trainings, messages = [training(seed) for seed in (5, 3)], []
    ends = train_all(
        "t", trainings, "cpu", lambda one, message: messages.append((one.seed, message))
    )
    assert [end.timing["steps"] for end in ends] == [TINY["num_steps"]] * 2
    for seed in (5, 3):
        own = [message for name, message in messages if name == seed]
        assert isinstance(own[0], Started)
        assert isinstance(own[-1], Finished)
        assert any(isinstance(message, dict) for message in own)  # rows
    for one in trainings:
        assert (one.folder / "weights.safetensors").is_file()
        assert one.checkpoint.is_file()  # until its caller has made the outputs safe


def test_a_failed_seed_leaves_the_complete_checkpoint_of_the_other(prepared, monkeypatch):
    run = Trainer.run

    def fail(self, callbacks):
        if self.settings.seed == 1:
            raise FloatingPointError("phase vae, step 3: loss = nan is not finite")
        return run(self, callbacks)

    monkeypatch.setattr(Trainer, "run", fail)
    trainings = [training(seed) for seed in (0, 1)]
    with pytest.raises(UserError, match="vae seed 1: phase vae, step 3"):
        train_all("t", trainings, "cpu", lambda one, message: None, at_once=1)
    assert trainings[0].checkpoint.is_file()
    assert not trainings[1].folder.exists()
