"""Section `tune` of tune.yaml: what a study searches, what it judges by, what it may spend."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipelines.settings.sections import Name, Section, Seed

Direction = Literal["minimize", "maximize"]
_MOST_HALVINGS = 6
#: A setting may have one of these values.
Value = bool | int | float | str | None
#: Dotted where the setting lies inside another one, as in `learning_rate_schedule.0.factor`.
Key = Annotated[str, Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*$")]
#: For a part that is not always searched: by key the values of another part that switch it on.
When = Annotated[dict[Key, Annotated[list[Value], Field(min_length=1)]], Field(min_length=1)] | None


class _Part(Section):
    """A part of the search space; only `when` may be left out, and then it always counts."""

    when: When = None


class _Range(_Part):
    low: float
    high: float
    log: bool

    @model_validator(mode="after")
    def _range_is_possible(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low} with log: true; a logarithm needs a low above 0")
        return self

    @property
    def corners(self) -> list[Any]:
        """The values that the `Config` has to accept."""
        return [self.low, self.high]


class FloatRange(_Range):
    """Real numbers from `low` to `high`."""

    type: Literal["float"]


class IntRange(_Range):
    """Whole numbers from `low` to `high` in steps."""

    type: Literal["int"]
    low: int
    high: int
    step: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _step_reaches_the_end(self) -> Self:
        if self.log and self.step != 1:
            raise ValueError(f"step {self.step} with log: true; steps of a logarithm are 1")
        if (self.high - self.low) % self.step:
            raise ValueError(f"steps of {self.step} from {self.low} do not meet high {self.high}")
        return self


class Categorical(_Part):
    """One of several values."""

    type: Literal["categorical"]
    choices: Annotated[list[Value], Field(min_length=2)]

    @model_validator(mode="after")
    def _choices_differ(self) -> Self:
        # By type, too: 1, 1.0 and true are three settings.
        if len({(type(choice), choice) for choice in self.choices}) < len(self.choices):
            raise ValueError(f"choices {self.choices} names one twice")
        return self

    @property
    def corners(self) -> list[Any]:
        """The values that the `Config` has to accept."""
        return list(self.choices)


class Fixed(_Part):
    """A value that goes with what `when` names, and is not searched."""

    type: Literal["fixed"]
    value: Value

    @property
    def corners(self) -> list[Any]:
        """The values that the `Config` has to accept."""
        return [self.value]


Part = Annotated[FloatRange | IntRange | Categorical | Fixed, Field(discriminator="type")]
#: The class of a part by its `type`.
PARTS: dict[str, type[FloatRange | IntRange | Categorical | Fixed]] = {
    "float": FloatRange,
    "int": IntRange,
    "categorical": Categorical,
    "fixed": Fixed,
}
#: By key its part, or several of which at most one counts at a time.
Space = Annotated[dict[Key, Annotated[list[Part], Field(min_length=1)]], Field(min_length=1)]


class Objective(Section):
    """A value of evaluation/metrics/ on the validation split.

    Attributes:
        metric: Its name, such as `fid_classifier`.
        direction: Null for the metric's own; a diagnostic has none.
    """

    metric: Name
    direction: Direction | None


class Sampler(Section):
    """How the next trial is chosen; the first `startup_trials` are drawn at random."""

    name: Literal["tpe", "gp", "random"]
    startup_trials: Annotated[int, Field(ge=1)]


class Pruner(Section):
    """When a trial is given up.

    `median` looks `checks` times, evenly spaced, and gives up what is behind the median of the
    others. `halving` looks after 1/2, 1/4, 1/8 ... of the steps and lets the better half go on
    (asynchronous successive halving, Li et al. 2020): with three checks a trial costs a third.
    """

    name: Literal["none", "median", "halving"]
    startup_trials: Annotated[int, Field(ge=1)]
    checks: Annotated[int, Field(ge=1, le=20)]

    @model_validator(mode="after")
    def _first_check_is_worth_a_look(self) -> Self:
        if self.name == "halving" and self.checks > _MOST_HALVINGS:
            raise ValueError(
                f"checks {self.checks} with name: halving; at most {_MOST_HALVINGS}, which looks "
                f"after 1/{2**_MOST_HALVINGS} of the steps"
            )
        return self

    @property
    def parts(self) -> int:
        """How many equal parts a training has, after some of which the pruner looks."""
        return {"none": 1, "median": self.checks + 1, "halving": 2**self.checks}[self.name]

    @property
    def looks(self) -> list[int]:
        """After which of the parts, counted from 1."""
        if self.name == "halving":
            return [2**i for i in range(self.checks)]
        return list(range(1, self.parts))


class Constraints(Section):
    """What a model may cost; null for no limit."""

    num_parameters: Annotated[int, Field(ge=1)] | None
    cpu_seconds: Annotated[float, Field(gt=0)] | None


class Retrain(Section):
    """The best trials are trained again at the full budget of their entry.

    Attributes:
        top: How many of them.
        seeds: Fresh ones: the trials were chosen for doing well with `training_seed`, and what is
            chosen here is trained with `seeds` of params.yaml next.
    """

    top: Annotated[int, Field(ge=1, le=10)]
    seeds: Annotated[list[Seed], Field(min_length=2)]


class Tune(Section):
    """One study.

    Attributes:
        model: The entry of `models:` that it starts from. It is the first trial, moved into the
            space where it lies outside.
        objectives: One, or two for a Pareto front.
        watch: Further values that are measured of every trial.
        trials: How many, retries of lost ones not counted.
        seconds: After so many no trial is begun; null for no limit.
        num_steps: Of every trial; a schedule is a share of it.
        seed: Of the sampler.
        training_seed: Of every trial.
        sampler: How the next trial is chosen.
        pruner: When a trial is given up.
        constraints: What a model may cost.
        retrain: What decides among the best.
        space: By setting of the entry's `Config` what is tried.
    """

    model: Name
    objectives: Annotated[list[Objective], Field(min_length=1, max_length=2)]
    watch: list[Name]
    trials: Annotated[int, Field(ge=1)]
    seconds: Annotated[float, Field(gt=0)] | None
    num_steps: Annotated[int, Field(ge=1)]
    seed: Seed
    training_seed: Seed
    sampler: Sampler
    pruner: Pruner
    constraints: Constraints
    retrain: Retrain
    space: Space

    @model_validator(mode="before")
    @classmethod
    def _one_part_is_a_list(cls, raw: Any) -> Any:
        """A key with one part needs no list around it."""
        if not isinstance(raw, dict) or not isinstance(raw.get("space"), dict):
            return raw
        space = {k: p if isinstance(p, list) else [p] for k, p in raw["space"].items()}
        return {**raw, "space": space}

    @model_validator(mode="after")
    def _something_is_searched(self) -> Self:
        if all(part.type == "fixed" for parts in self.space.values() for part in parts):
            raise ValueError("space has fixed parts alone, so there is nothing to search")
        return self

    @model_validator(mode="after")
    def _two_objectives_are_not_pruned(self) -> Self:
        names = [objective.metric for objective in self.objectives]
        if len(set(names)) < len(names):
            raise ValueError(f"objectives name {names[0]} twice")
        if len(names) > 1 and self.pruner.name != "none":
            raise ValueError(
                f"pruner {self.pruner.name!r} with two objectives: no order says which of two "
                "trials is behind; set pruner.name: none"
            )
        if self.training_seed in self.retrain.seeds:
            raise ValueError(
                f"retrain.seeds {self.retrain.seeds} holds training_seed {self.training_seed}, "
                "with which the trials were chosen: they have to be fresh"
            )
        if len(set(self.retrain.seeds)) < len(self.retrain.seeds):
            raise ValueError(f"retrain.seeds {self.retrain.seeds} names a seed twice")
        return self

    @model_validator(mode="after")
    def _steps_can_be_halved(self) -> Self:
        if self.pruner.name == "halving" and self.num_steps < self.pruner.parts:
            raise ValueError(
                f"num_steps {self.num_steps} with pruner halving and checks {self.pruner.checks}; "
                f"it looks after 1/{self.pruner.parts} of the steps, which has to be one at least"
            )
        return self

    @property
    def check_steps(self) -> list[int]:
        """The steps of a trial after which the pruner looks at it."""
        return [math.ceil(self.num_steps * i / self.pruner.parts) for i in self.pruner.looks]
