"""What every model of the resource shares: camelCase outside, snake_case inside, nothing unknown accepted.

A cross-field rule is written once as a `Rule`: the CEL half goes into the CRD, so that the API server refuses a bad object at
`kubectl apply`; the Python half runs offline (`kubectl yolo validate`, tests). Both carry the same message.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

DNS_LABEL = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$"


@dataclass(frozen=True, slots=True)
class Unquoted:
    """Of strings that TAO puts into a shell command without quotes (contract §0): what it would not bear is refused by name."""

    allowed: str
    """The inside of a character class."""

    def check(self, value: str) -> str:
        """The value, when the shell bears it."""
        if bad := re.search(self._forbidden, value):
            raise ValueError(f"the character '{bad.group()}' {self._why}")
        return value

    @property
    def _forbidden(self) -> str:
        return f"[^{self.allowed}]"

    @property
    def _why(self) -> str:
        return f"does not survive TAO's unquoted shell command; take {self.allowed}"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The string's own checks, then this one."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The same as a rule of the API server."""
        rule = {
            "rule": f"!self.matches('{self._forbidden}')",
            # Where the character is a line break the expression's result is not used.
            "message": f"a character {self._why}",
            "messageExpression": f"\"the character '\" + self.find('{self._forbidden}') + \"' {self._why}\"",
        }
        return {**handler(schema), "x-kubernetes-validations": [rule]}


SafePath = Annotated[str, Field(min_length=1, max_length=512), Unquoted("A-Za-z0-9._/-")]
"""A path inside the workspace (relative), or an absolute path in the container."""
SafeName = Annotated[str, Field(min_length=1, max_length=63), Unquoted("A-Za-z0-9._-")]
ObjectName = Annotated[str, Field(pattern=DNS_SUBDOMAIN, min_length=1, max_length=253)]
Quantity = Annotated[str, Field(pattern=QUANTITY, max_length=32)]


class Rule(NamedTuple):
    """One cross-field rule of a model."""

    cel: str
    """The rule as the API server evaluates it; `self` is the model."""
    message: str
    check: Callable[[Any], bool]
    """The same rule on the parsed model; true when it holds."""
    field: str = ""
    """The field to point at, for example `.annealing`; empty: the model itself."""


class Model(BaseModel):
    """Base of all models of the resource."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        for rule in self.rules:
            if not rule.check(self):
                raise ValueError(f"{rule.field.lstrip('.') + ': ' if rule.field else ''}{rule.message}")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The model's schema with its rules, as the CRD carries them."""
        schema = handler(core_schema)
        if cls.rules:
            handler.resolve_ref_schema(schema)["x-kubernetes-validations"] = [
                {"rule": rule.cel, "message": rule.message} | ({"fieldPath": rule.field} if rule.field else {})
                for rule in cls.rules
            ]
        return schema

    def dump(self) -> dict[str, Any]:
        """As JSON for the API server: camelCase, absent fields left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class OpenModel(Model):
    """A model whose unknown fields are kept out of the way: what a newer version wrote into status must not stop an older one."""

    model_config = ConfigDict(extra="ignore")


def exactly_one(*names: str) -> Rule:
    """Exactly one of the fields (camelCase of `names`) is set."""
    return _count_rule(names, "== 1", lambda count: count == 1, "exactly one of")


def at_most_one(*names: str) -> Rule:
    """At most one of the fields is set."""
    return _count_rule(names, "<= 1", lambda count: count <= 1, "at most one of")


def _count_rule(names: tuple[str, ...], comparison: str, holds: Callable[[int], bool], words: str) -> Rule:
    fields = [to_camel(name) for name in names]
    return Rule(
        cel=f"[{', '.join(f'has(self.{field})' for field in fields)}].filter(x, x).size() {comparison}",
        message=f"set {words} {', '.join(fields)}",
        check=lambda model: holds(sum(getattr(model, name) is not None for name in names)),
    )
