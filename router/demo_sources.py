"""The demo's shipped texts: real ticket questions and the knowledge base of an invented company.

Where they come from and under which licences: demo/ATTRIBUTION.md.
"""

import csv
import gzip
import io
from functools import lru_cache
from importlib.resources import files

from router.demo_tickets import DemoSources, TicketText


def parse_knowledge(text: str) -> tuple[str, tuple[str, ...]]:
    """The rules and the articles of knowledge.md. Shapes: articles begin at "## ", rules at "# Rules"."""
    head, *articles = text.split("\n## ")
    rules = head[head.index("# Rules") :].strip()
    return rules, tuple("## " + article.strip() for article in articles)


@lru_cache(maxsize=1)
def shipped_sources() -> DemoSources:
    """The sample that comes with the package; read once."""
    folder = files("router") / "demo"
    rows = csv.DictReader(io.StringIO(gzip.decompress((folder / "tickets.csv.gz").read_bytes()).decode()))
    rules, articles = parse_knowledge((folder / "knowledge.md").read_text(encoding="utf-8"))
    return DemoSources(
        tickets=tuple(TicketText(source=row["source"], intent=row["intent"], text=row["text"]) for row in rows),
        rules=rules,
        articles=articles,
    )
