"""The parts that stand in where a configuration names none."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from arlab.configurable import Configurable
from arlab.data.facts import DataFacts

# What a part is by default does not depend on the data, but models are not built without.
_FACTS = DataFacts(source="any", channels=3, image_size=(32, 32))


def stand_ins(cls: type) -> Mapping[str, str]:
    """For options that are null by default: the full name of the class that stands in, where that can be told.

    Empty for a class that cannot be built without options of its own.
    """
    if not issubclass(cls, Configurable):
        return {}
    given = {"facts": _FACTS} if "facts" in inspect.signature(cls).parameters else {}
    try:
        built = cls(**given).spec()["init_args"]
    except (TypeError, ValueError):
        return {}
    parts = built.items() if isinstance(built, dict) else ()
    return {name: str(part["class_path"]) for name, part in parts if isinstance(part, dict) and "class_path" in part}
