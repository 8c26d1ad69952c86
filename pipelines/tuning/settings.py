"""Reads tune.yaml and checks its form: what a study searches, its objectives and its budget."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipelines.settings import paths, yaml_files
from pipelines.settings.errors import UserError
from pipelines.settings.refusals import check
from pipelines.settings.sections import Name, Section, Seed

Direction = Literal["minimize", "maximize"]
_MOST_HALVINGS = 6
#: A value of a setting.
Value = bool | int | float | str | None
#: Dotted where the setting lies inside another one, as in `learning_rate_schedule.0.factor`.
Key = Annotated[str, Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*$")]
#: A condition: by key the values of another part with which a part is used.
When = Annotated[dict[Key, Annotated[list[Value], Field(min_length=1)]], Field(min_length=1)] | None


class _Part(Section):
    """A part of the search space; a part without `when` is always used."""

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
            raise ValueError(f"low {self.low} with log: true; low must be above 0")
        return self


class FloatRange(_Range):
    """Real numbers from `low` to `high`."""

    type: Literal["float"]


class IntRange(_Range):
    """Whole numbers from `low` to `high` in steps of `step`."""

    type: Literal["int"]
    low: int
    high: int
    step: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _step_reaches_high(self) -> Self:
        if self.log and self.step != 1:
            raise ValueError(f"step {self.step} with log: true; step must be 1")
        if (self.high - self.low) % self.step:
            raise ValueError(f"steps of {self.step} from {self.low} do not reach high {self.high}")
        return self


class Categorical(_Part):
    """One of several values."""

    type: Literal["categorical"]
    choices: Annotated[list[Value], Field(min_length=2)]

    @model_validator(mode="after")
    def _choices_differ(self) -> Self:
        # 1, 1.0 and true are three values.
        if len({(type(choice), choice) for choice in self.choices}) < len(self.choices):
            raise ValueError(f"choices {self.choices} has a value twice")
        return self


class Fixed(_Part):
    """A value that is set where the condition holds, and not searched."""

    type: Literal["fixed"]
    value: Value


Part = Annotated[FloatRange | IntRange | Categorical | Fixed, Field(discriminator="type")]
#: By `type` the class of a part.
PARTS = {"float": FloatRange, "int": IntRange, "categorical": Categorical, "fixed": Fixed}
#: By key its part, or several parts of which at most one is used at a time.
Space = Annotated[dict[Key, Annotated[list[Part], Field(min_length=1)]], Field(min_length=1)]


class Objective(Section):
    """A value of evaluation/metrics/ on the validation split; null = the metric's own direction."""

    metric: Name
    direction: Direction | None


class Sampler(Section):
    """The search algorithm; the first `startup_trials` are random."""

    name: Literal["tpe", "gp", "random"]
    startup_trials: Annotated[int, Field(ge=1)]


class Pruner(Section):
    """The rule by which a trial stops early.

    `median` checks `checks` times, evenly spaced, and stops a trial behind the median of others.
    `halving` checks after 1/2, 1/4, 1/8 ... of the steps and continues the better half
    (asynchronous successive halving, Li et al. 2020): with three checks a trial costs a third.
    """

    name: Literal["none", "median", "halving"]
    startup_trials: Annotated[int, Field(ge=1)]
    checks: Annotated[int, Field(ge=1, le=20)]

    @model_validator(mode="after")
    def _first_check_is_late_enough(self) -> Self:
        if self.name == "halving" and self.checks > _MOST_HALVINGS:
            raise ValueError(
                f"checks {self.checks} with name: halving; at most {_MOST_HALVINGS}, of which the "
                f"first is after 1/{2**_MOST_HALVINGS} of the steps"
            )
        return self

    @property
    def parts(self) -> int:
        """Number of equal parts of a training; checks are at the end of some of them."""
        return {"none": 1, "median": self.checks + 1, "halving": 2**self.checks}[self.name]


class Constraints(Section):
    """Maximum cost of a model; null = no limit."""

    num_parameters: Annotated[int, Field(ge=1)] | None
    cpu_seconds: Annotated[float, Field(gt=0)] | None


class Retrain(Section):
    """The top trials are retrained at full length with fresh seeds."""

    top: Annotated[int, Field(ge=1, le=10)]
    seeds: Annotated[list[Seed], Field(min_length=2)]


class Tune(Section):
    """One study; tune.yaml describes each key."""

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
    def _keys_agree(self) -> Self:
        if all(part.type == "fixed" for parts in self.space.values() for part in parts):
            raise ValueError("space has only fixed parts; there is nothing to search")
        names = [objective.metric for objective in self.objectives]
        if len(set(names)) < len(names):
            raise ValueError(f"objectives has {names[0]} twice")
        if len(names) > 1 and self.pruner.name != "none":
            raise ValueError(
                f"pruner {self.pruner.name!r} with two objectives, which have no order; "
                "set pruner.name: none"
            )
        if self.training_seed in self.retrain.seeds:
            raise ValueError(
                f"retrain.seeds {self.retrain.seeds} must not contain training_seed "
                f"{self.training_seed}, which selected the trials"
            )
        if len(set(self.retrain.seeds)) < len(self.retrain.seeds):
            raise ValueError(f"retrain.seeds {self.retrain.seeds} has a seed twice")
        if self.pruner.name == "halving" and self.num_steps < self.pruner.parts:
            raise ValueError(
                f"num_steps {self.num_steps} with pruner halving and checks {self.pruner.checks}: "
                f"the first check is after 1/{self.pruner.parts} of the steps, at least 1"
            )
        return self

    @property
    def check_steps(self) -> list[int]:
        """The steps of a trial at which the pruner checks it."""
        parts, halves = self.pruner.parts, self.pruner.name == "halving"
        checked = [2**i for i in range(self.pruner.checks)] if halves else range(1, parts)
        return [math.ceil(self.num_steps * i / parts) for i in checked]


class _File(Section):
    """The whole of tune.yaml."""

    tune: dict[Name, Tune]


def load_studies() -> dict[str, Tune]:
    """Reads tune.yaml and checks the form of each study.

    Raises:
        UserError: The first error: its full key, the value and what is allowed.
    """
    file, raw = paths.TUNE_YAML.name, yaml_files.read_yaml(paths.TUNE_YAML)
    if not isinstance(raw, dict) or not isinstance(raw.get("tune"), dict):
        raise UserError(f"{file}: expected a section tune: of studies")
    # One study at a time: an error inside a part of a space then names the keys of that part only.
    for name, study in raw["tune"].items():
        where = f"{file}: tune.{name}"
        if isinstance(study, dict) and isinstance(study.get("space"), dict):
            for key, parts in study["space"].items():
                several = isinstance(parts, list)
                for index, part in enumerate(parts if several else [parts]):
                    _check_part(part, f"{where}.space.{key}" + (f".{index}" if several else ""))
        check(Tune, study, where)
    return check(_File, raw, file).tune


def _check_part(part: Any, where: str) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or not isinstance(kind, str) or kind not in PARTS:
        raise UserError(f"{where}: type {kind!r} is not one of {', '.join(PARTS)}")
    section: Any = PARTS[kind]
    check(section, part, where)
