"""Chooses the class of settings of a part by the part's name.

Example:
    >>> from c2vl.config.reading import from_dict
    >>> values = {"data": {"store": "stores/ntu60"}, "prompts": {"language": "captions"}}
    >>> type(from_dict({**values, "model": {"name": "stgcn", "hidden": 8}}).model).__name__
    'STGCNSettings'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal, cast

from pydantic import BaseModel, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, create_model
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, ValidationError
from pydantic_core.core_schema import no_info_plain_validator_function

from c2vl.registry import Kind, Part, find, parts
from c2vl.support.errors import UserError


@dataclass(frozen=True)
class ByName:
    """Marks a field whose settings are those of a registered part; an annotation's metadata.

    Attributes:
        default: the part's name where the settings give none.
        tag: the setting that holds the name.
    """

    kind: Kind
    default: str
    tag: str = "name"

    def settings(self, base: type[BaseModel], values: Any) -> type[BaseModel]:
        """Return the class of the settings that stand in ``values``.

        Args:
            base: what every part of this kind derives its settings from.

        Raises:
            UserError: there is no such part.
        """
        name = values.get(self.tag, self.default) if isinstance(values, Mapping) else self.default
        return settings_of(find(self.kind, str(name)), base, self.tag)

    def alternatives(self, base: type[BaseModel]) -> dict[str, type[BaseModel]]:
        """Return the class of settings of each part that is registered now, by its name."""
        return {part.name: settings_of(part, base, self.tag) for part in parts(self.kind)}

    def _read(self, base: type[BaseModel], values: Any) -> BaseModel:
        if isinstance(values, base):
            return values
        if not isinstance(values, Mapping):
            raise ValueError("expected settings (name: value)")
        try:
            chosen = self.settings(base, values)
        except UserError as error:
            problem = PydanticCustomError("part", "{message}", {"message": str(error)})
            given = values.get(self.tag)
            details = InitErrorDetails(type=problem, loc=(self.tag,), input=given)
            raise ValidationError.from_exception_data(self.kind, [details]) from None
        return chosen.model_validate(dict(values))

    def __get_pydantic_core_schema__(
        self, source: type[BaseModel], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return no_info_plain_validator_function(
            partial(self._read, source), metadata={"pydantic_js_functions": [self._schema(source)]}
        )

    def _schema(self, base: type[BaseModel]) -> Any:
        def alternatives(_: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
            found = self.alternatives(base).values()
            return {"anyOf": [handler(chosen.__pydantic_core_schema__) for chosen in found]}

        return alternatives


@cache
def settings_of(part: Part, base: type[BaseModel], tag: str) -> type[BaseModel]:
    """Return a part's class of settings, with its name as one of them.

    Raises:
        UserError: the part was registered with settings that do not derive from ``base``.
    """
    own = part.load_settings() or base
    if not issubclass(own, base):
        raise UserError(
            f"{part.kind} {part.name} of {part.module}: its settings must derive from "
            f"{base.__module__}.{base.__name__}"
        )
    meaning = base.model_fields[tag].description
    named: Any = (Literal[part.name], Field(part.name, description=meaning))
    made = create_model(own.__name__, __base__=own, __doc__=own.__doc__, **{tag: named})
    made.__module__ = own.__module__
    return made


def choice(field: FieldInfo) -> ByName | None:
    """Return how a field's settings are chosen by name, if they are."""
    return next((one for one in field.metadata if isinstance(one, ByName)), None)


def settings_at(field: FieldInfo, chosen: ByName, values: Any) -> type[BaseModel]:
    """Return the class of settings of the part that the values name, or what all parts share."""
    base: Any = field.annotation
    try:
        return chosen.settings(base, values)
    except UserError:  # no such part; what all of them share is there
        return cast(type[BaseModel], base)
