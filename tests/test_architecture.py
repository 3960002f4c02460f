"""The house's own rules (STYLE section 3): who may import whom, what pure means, where the heavy libraries are."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("ledger", "router", "reports", "schemas")
DOOR = "halfpenny"  # the one module that composes the rooms
MAY_IMPORT = {"ledger": {"ledger"}, "router": {"router", "ledger"}, "reports": {"reports", "ledger"}, "schemas": set()}
OURS = {*ROOMS, DOOR, "bench", "tests"}

PURE = {
    "ledger": "money usage prices charges budgets envelope afterwards call_events events routing codec windows spending corrections projections errors "
    "hours closings invoices orphans reconciliation listings reuse alarms bills history",
    "router": "policy capabilities aggregates output_bounds standing standing_folds standing_views shifts tallies drift drift_folds explain costs pace forecast gains classify demo_tickets simulation seeded reply_prose simulator_wire",
    "reports": "model figures schedule difference",
}
PURE_LIBRARIES = {"msgspec", "babel"}  # no input, no output, no clock; babel only looks its tables up
NOT_PURE = {"time", "random", "os", "io", "secrets", "socket", "subprocess", "tempfile", "threading", "asyncio"}
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "__import__"}
DISK = {"read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "unlink", "open"}  # a Path itself is a value
CLOCKS = {"now", "utcnow", "today"}

# Where a heavy library may be imported, as a pattern of module names.
SEALING = r"ledger\.(parquet|catalog|sealer|scrub|segments|upkeep|dropping|exports|doctor|verify)"  # what reads or writes segments: never in the gateway's process
HEAVY_IN = {
    "duckdb": rf"{SEALING}|reports\.warehouse",
    "pyarrow": rf"{SEALING}|reports\.\w+",
    "openai": r"router\.(demo|evaluation)\w*",
    "aiohttp": r"router\.\w+|reports\.(dashboard|http|couriers)",
}
BANNED_NAMES = {"utils", "util", "helpers", "helper", "misc", "common", "manager", "managers"}
LINES_AT_MOST = 450


class Module(NamedTuple):
    name: str
    path: Path

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]

    @property
    def last(self) -> str:
        return self.name.rpartition(".")[2]


def modules_of(*rooms: str) -> list[Module]:
    found = []
    for room in rooms:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append(Module(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


MODULES = modules_of(*ROOMS)
FRONT_DOOR = [Module(DOOR, ROOT / "halfpenny.py")] if (ROOT / "halfpenny.py").is_file() else []
NAMES = {module.name for module in MODULES}
EACH = [pytest.param(module, id=module.name) for module in MODULES]
EACH_AND_DOOR = [pytest.param(module, id=module.name) for module in MODULES + FRONT_DOOR]


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports_of(module: Module) -> set[str]:
    """Every module named by an import anywhere in it, also inside functions and by importlib."""
    package = module.name if module.path.name == "__init__.py" else module.name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(tree_of(module.path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            found.update(f"{base}.{a.name}" if f"{base}.{a.name}" in NAMES else base for a in node.names)
        elif isinstance(node, ast.Call) and called(node).endswith("import_module") and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                found.add(name.value)
    return found


def called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def pure_modules() -> list[Module]:
    """Those named above, and those that a room's own map, the docstring of its __init__, calls pure."""
    by_name = {module.name: module for module in MODULES}
    names = {f"{room}.{name}" for room, listed in PURE.items() for name in listed.split()}
    for room in {"ledger", "router", "reports"} & set(by_name):
        drawn = ast.get_docstring(tree_of(by_name[room].path)) or ""
        names |= {f"{room}.{line.split()[0]}" for line in drawn.splitlines() if re.search(r"\S\s{2,}pure$", line)}
    return [by_name[name] for name in sorted(names) if name in by_name]


PURE_MODULES = pure_modules()


def test_the_rooms_are_there() -> None:
    assert {f"ledger.{name}" for name in PURE["ledger"].split()} <= NAMES


@pytest.mark.parametrize("module", EACH)
def test_a_room_imports_only_itself_and_the_ledger(module: Module) -> None:
    siblings = {name.partition(".")[0] for name in imports_of(module)} & OURS

    assert siblings <= MAY_IMPORT[module.room], f"{module.name} imports {sorted(siblings - MAY_IMPORT[module.room])}"


def test_the_schemas_hold_no_code() -> None:
    assert [module.path.read_text() for module in MODULES if module.room == "schemas"] == [""]


@pytest.mark.parametrize("module", [pytest.param(module, id=module.name) for module in PURE_MODULES])
def test_a_pure_module_imports_the_standard_library_and_pure_modules(module: Module) -> None:
    pure = {found.name for found in PURE_MODULES} | {"ledger", "router", "reports"}
    for name in imports_of(module):
        top = name.partition(".")[0]
        if top in OURS:
            assert name in pure, f"{module.name} is pure and imports {name}, which is not"
        else:
            assert top in sys.stdlib_module_names | PURE_LIBRARIES, f"{module.name} is pure and imports {name}"
            assert top not in NOT_PURE, f"{module.name} is pure and imports {name}"


@pytest.mark.parametrize("module", [pytest.param(module, id=module.name) for module in PURE_MODULES])
def test_a_pure_module_takes_moment_ids_and_seed_as_arguments(module: Module) -> None:
    for node in ast.walk(tree_of(module.path)):
        at = f"{module.path.name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Call):
            assert called(node) not in IMPURE_CALLS, f"{at} calls {called(node)}"
            assert called(node).rpartition(".")[2] not in DISK, f"{at} calls {called(node)}"
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS:
            owner = ast.unparse(node.value).rpartition(".")[2]
            assert owner not in ("datetime", "date"), f"{at} reads the clock"


@pytest.mark.parametrize("module", EACH_AND_DOOR)
def test_heavy_libraries_are_imported_where_they_are_meant(module: Module) -> None:
    used = {name.partition(".")[0] for name in imports_of(module)}

    for library, where in HEAVY_IN.items():
        if library in used:
            assert re.fullmatch(where, module.name), f"{module.name} imports {library}, which belongs in {where}"


def loaded_by(names: list[str]) -> dict[str, list[str]]:
    """The heavy libraries that importing each of these modules loads, in one fresh interpreter."""
    script = (
        "import importlib, json, sys\n"
        "found, seen = {}, set()\n"
        "for name in json.loads(sys.argv[1]):\n"
        "    importlib.import_module(name)\n"
        "    now = set(json.loads(sys.argv[2])) & set(sys.modules)\n"
        "    found[name], seen = sorted(now - seen), now\n"
        "print(json.dumps(found))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, json.dumps(names), json.dumps(sorted(HEAVY_IN))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, list[str]] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize(
    ("room", "library"), [("ledger", "duckdb|pyarrow|openai|aiohttp"), ("router", "duckdb|pyarrow")]
)
def test_importing_a_room_loads_no_heavy_library_unasked(room: str, library: str) -> None:
    """The gateway's process never loads DuckDB, and `--help` waits for nothing."""
    unasked = set(library.split("|"))
    meant = {m.name for m in MODULES if any(re.fullmatch(HEAVY_IN[one], m.name) for one in unasked)}
    meant |= {m.name for m in MODULES if re.fullmatch(r"router\.(demo|evaluation)\w*", m.name)}  # no gateway runs these
    names = [m.name for m in MODULES if m.room == room and m.name not in meant and m.last != "__main__"]

    loaded = {name: sorted(set(found) & unasked) for name, found in loaded_by(names).items()}

    assert {name: found for name, found in loaded.items() if found} == {}


def works(node: ast.stmt) -> bool:
    """Whether a statement does something where it stands; hanging a command into its group is a definition."""
    if isinstance(node, ast.For):
        return any(works(inner) for inner in node.body)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return re.search(r"\.(add_typer|command|callback)\b", called(node.value)) is None
    return isinstance(node, ast.While | ast.With)


@pytest.mark.parametrize("module", EACH_AND_DOOR)
def test_nothing_happens_at_import(module: Module) -> None:
    if module.last != "__main__":  # which is run, never imported
        assert [f"line {node.lineno}" for node in tree_of(module.path).body if works(node)] == []


@pytest.mark.parametrize("module", EACH_AND_DOOR)
def test_a_module_is_named_after_its_noun(module: Module) -> None:
    words = {word for part in module.name.split(".") for word in part.split("_")}

    assert not words & BANNED_NAMES, f"{module.name}: name the noun"


@pytest.mark.parametrize("module", EACH_AND_DOOR)
def test_a_module_fits_in_a_reading(module: Module) -> None:
    lines = module.path.read_text(encoding="utf-8").count("\n")

    assert lines <= LINES_AT_MOST, f"{module.name} has {lines} lines; find the second noun in it"
