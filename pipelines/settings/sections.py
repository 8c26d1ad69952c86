"""What a section of params.yaml is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

#: Names become folders, tags and table rows, so they are plain everywhere.
NAME_PATTERN = r"^[a-z0-9_]+$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
#: What torch and numpy both take.
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Section(BaseModel):
    """A section of params.yaml: frozen, strict, without defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
