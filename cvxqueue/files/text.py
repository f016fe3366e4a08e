"""TOML and JSON as text: parsed with the place of a mistake, written to be read."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import starmap
from typing import Any, Literal, NoReturn

import tomli_w

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown

Format = Literal["toml", "json"]

# As many numbers as fit in a line of a hundred characters, as wide as those of the examples.
_ROW_OF_NUMBERS = re.compile(r"(.{1,96})(?: |$)")

# What a parser takes for a file grows with its tables, keys and lists by up to a kilobyte each, and
# with the square of the names that dots join: with these limits 5 s and 1 GB suffice. The deepest
# key of an instance has four names.
_MOST_KEYS = 200_000
_MOST_LISTS = 1_000_000
_MOST_DOTTED_NAMES = 8
# Python cannot print a whole number of more than 4,300 digits, which hexadecimal ones may have.
_LONGEST_WORD = 1000

# Strings and comments of TOML, to the end of the text where they are never closed.
_TOML_TEXT = re.compile(
    r'"""(?:[^"\\]++|\\.|"(?!""))*+(?:"{3,5})?'
    r"|'''(?:[^']++|'(?!''))*+(?:'{3,5})?"
    r'|"(?:[^"\\\n]++|\\[^\n])*+"?'
    r"|'[^'\n]*+'?"
    r"|#[^\n]*+",
    re.DOTALL,
)
_TOML_HEADER = re.compile(r"^[ \t]*+\[[^,\n]*+$", re.MULTILINE)
_TOML_NAME = r'(?:[\w-]++|"")[ \t]*+'
_TOML_LONG_KEY = re.compile(
    rf"(?<![\w-]){_TOML_NAME}(?:\.[ \t]*+{_TOML_NAME}){{{_MOST_DOTTED_NAMES}}}"
)

_TOML_LONG_WORD = re.compile(rf"(?<!\w)\w{{{_LONGEST_WORD + 1}}}")


def parse(text: str, format: Format, expected: str = "an instance") -> Any:
    """Return the plain values of TOML or JSON text, or say where it is not valid."""
    if not text.strip():
        raise InvalidInputError(f"the {format.upper()} text is empty; {expected} was expected")
    try:
        if format == "toml":
            _require_moderate_toml(text)
            return tomllib.loads(text)
        _require_moderate("JSON", text.count(":") + text.count("{"), text.count("["))
        return json.loads(text, object_pairs_hook=_distinct_keys, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise InvalidInputError(f"the {format.upper()} is nested too deeply") from error
    except InvalidInputError:
        raise
    # Both decoding errors say the line and column; a whole number of 4300 digits is an error of
    # its own.
    except ValueError as error:
        raise InvalidInputError(f"not valid {format.upper()}: {error}") from error


def _require_moderate_toml(text: str) -> None:
    """Refuse TOML that would take its parser long; what is in strings does not count."""
    bare = _TOML_TEXT.sub('""', text)
    if long_key := _TOML_LONG_KEY.search(bare):
        raise InvalidInputError(
            f"the key {shown(long_key[0].strip())} has more than {_MOST_DOTTED_NAMES} names with "
            "dots between them, which no key of an instance has"
        )
    if long_word := _TOML_LONG_WORD.search(bare):
        raise InvalidInputError(
            f"the key or number {shown(long_word[0])} has more than {_LONGEST_WORD:,} characters"
        )
    headers = sum(1 for _ in _TOML_HEADER.finditer(bare))
    _require_moderate("TOML", bare.count("=") + headers, bare.count("["))


def _require_moderate(language: str, keys: int, lists: int) -> None:
    for count, most, what in ((keys, _MOST_KEYS, "keys and tables"), (lists, _MOST_LISTS, "lists")):
        if count > most:
            raise InvalidInputError(
                f"the {language} has about {count:,} {what}, and may have {most:,}; give arrays "
                "for all types in place of a table for each"
            )


def render(data: Mapping[str, Any], format: Format) -> str:
    """Return plain values as text that reads back the same, every float to its last bit."""
    return _toml(data) if format == "toml" else _json(data)


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        repeated = next(key for key, count in counts.items() if count > 1)
        raise InvalidInputError(
            f"key {shown(repeated)} occurs more than once in one object; keep one"
        )
    return table


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidInputError(f"{name} is no JSON number; all numbers must be finite")


def _toml(table: Mapping[str, Any], header: str = "", prefix: str = "") -> str:
    """Return TOML with the tables inside listed ones on one line each and numbers in rows."""
    plain = _plain(table)
    blocks = [header + "".join(starmap(_toml_entry, plain.items()))]
    for key, value in table.items():
        if isinstance(value, Mapping):
            blocks.append(_toml(value, f"[{prefix}{key}]\n", f"{prefix}{key}."))
        elif key not in plain:
            header = f"[[{prefix}{key}]]\n"
            blocks += [header + "".join(starmap(_toml_entry, each.items())) for each in value]
    return "\n".join(blocks)


def _toml_entry(key: str, value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(
            f"{name} = {_listed(part)}" if isinstance(part, list) else _toml_entry(name, part)[:-1]
            for name, part in value.items()
        )
        return f"{key} = {{ {inner} }}\n"
    if isinstance(value, list) and isinstance(value[0], list):
        rows = "".join(f"    {_listed(row)},\n" for row in value)
        return f"{key} = [\n{rows}]\n"
    if isinstance(value, list) and isinstance(value[0], int | float):
        rows = "".join(
            f"    {row}\n" for row in _ROW_OF_NUMBERS.findall(_listed(value)[1:-1] + ",")
        )
        return f"{key} = [\n{rows}]\n"
    # On several lines where it has several; there tomli_w would turn \r\n into \n.
    lines = key == "description" and "\r" not in value
    return tomli_w.dumps({key: value}, multiline_strings=lines)


def _listed(numbers: list[float]) -> str:
    """The shortest decimals that read back as the same floats are valid TOML, 1e+22 included."""
    return f"[{', '.join(map(repr, numbers))}]"


def _plain(table: Mapping[str, Any]) -> dict[str, Any]:
    """What of a table stands under its own header."""
    return {
        key: value
        for key, value in table.items()
        if not isinstance(value[0] if isinstance(value, list) else value, Mapping)
    }


def _json(data: Mapping[str, Any]) -> str:
    """Return JSON with one line for each entry of the lists of strings and of tables."""
    dumps: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
    lines = []
    for key, value in data.items():
        if isinstance(value, list) and value and isinstance(value[0], str | Mapping):
            entries = ",\n    ".join(map(dumps, value))
            lines.append(f"  {dumps(key)}: [\n    {entries}\n  ]")
        else:
            lines.append(f"  {dumps(key)}: {dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"
