"""What all Kubernetes-shaped objects share: metadata, selectors, and the base of the models.

Documents come from people, so these models are strict (`extra="forbid"`) and frozen. Field names
are Kubernetes' in camelCase outside and snake_case inside.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from fleetd.core.key import Key

__all__ = [
    "Key",
    "LabelSelector",
    "LabelSelectorRequirement",
    "Model",
    "ObjectMeta",
]


class Model(BaseModel):
    """Base of every document model: frozen, strict about unknown fields, camelCase outside."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        defer_build=True,
    )


class ObjectMeta(Model):
    """`metadata` of an object that a user wrote; what the store adds lives in `records`."""

    name: str
    namespace: str = "default"
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class LabelSelectorRequirement(Model):
    """One expression of a label selector (K 148)."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: list[str] = Field(default_factory=list)


class LabelSelector(Model):
    """`matchLabels` and `matchExpressions`, all of which must hold."""

    match_labels: dict[str, str] = Field(default_factory=dict)
    match_expressions: list[LabelSelectorRequirement] = Field(default_factory=list)
