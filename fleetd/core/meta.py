"""What all Kubernetes-shaped objects share: metadata, selectors, and the base of the models.

Documents come from people, so these models are strict (`extra="forbid"`) and frozen. Field names
are Kubernetes' in camelCase outside and snake_case inside.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Key(NamedTuple):
    """The name of a namespaced object: `namespace/name` in text."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Key:
        """Read `namespace/name`; a bare name means the namespace `default`."""
        namespace, slash, name = text.partition("/")
        return cls(namespace, name) if slash else cls("default", namespace)


class Model(BaseModel):
    """Base of every document model: frozen, strict about unknown fields, camelCase outside."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
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
