"""The report's words in one language, by key.

The catalogues are reports/english.py and reports/german.py; a test holds their keys and placeholders equal. Figures never stand in
them: they arrive written by `display`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reports import english, german

CATALOGUES: Mapping[str, Mapping[str, str]] = {"en": english.WORDS, "de": german.WORDS}
LANGUAGES = tuple(CATALOGUES)


@dataclass(frozen=True, slots=True)
class Words:
    """One language's words."""

    language: str

    def __call__(self, key: str, **values: str) -> str:
        """A phrase with its values put in; a value is never read as a phrase."""
        return CATALOGUES[self.language][key].format(**values)

    def template(self, key: str) -> str:
        """A phrase with its placeholders."""
        return CATALOGUES[self.language][key]

    def listed(self, key: str) -> tuple[str, ...]:
        """Several short phrases, like a table's columns."""
        return tuple(CATALOGUES[self.language][key].split("|"))

    def noun(self, key: str, count: int) -> str:
        """A noun that fits a count."""
        one, many = self.listed(f"noun.{key}")
        return one if count == 1 else many
