"""What is installed: the wheel, built twice and looked into, and put into an environment of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from email.parser import BytesParser
from email.policy import compat32
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
ROOMS = ("ledger", "router", "reports", "schemas")
NOT_SHIPPED = re.compile(r"(^|/)__pycache__/|^\w+/README\.md$|^reports/examples/")  # for those who read the tree
EXTRAS = ("", "report", "demo", "cache", "mail", "test")


def built(root: Path, directory: Path) -> Path:
    (path,) = WheelBuilder(str(root)).build(directory=str(directory), versions=["standard"])
    return Path(path)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(ROOT, tmp_path_factory.mktemp("first"))


def installed_of(wheel: Path) -> dict[str, str]:
    """Every name in it with the bits of its mode."""
    with zipfile.ZipFile(wheel) as packed:
        return {one.filename: f"{(one.external_attr >> 16) & 0o777:o}" for one in packed.infolist()}


def test_a_wheel_built_again_elsewhere_and_later_is_the_same_to_the_byte(wheel: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tree"
    for name in (*ROOMS, "halfpenny.py", "pyproject.toml", "README.md", "LICENSE"):
        source, target = ROOT / name, copy / name
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            target.parent.mkdir(exist_ok=True)
            shutil.copy(source, target)
    for number, path in enumerate(sorted(copy.rglob("*"), reverse=True)):
        path.chmod(0o700 if path.is_dir() else 0o600)
        os.utime(path, (number * 86_400, number * 86_400))

    again = built(copy, tmp_path / "second")

    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()


def test_the_wheel_holds_the_rooms_with_their_data_and_nothing_else(wheel: Path) -> None:
    tree = {path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("*") if path.is_file()}
    shipped = {name for name in tree if not NOT_SHIPPED.search(name)} | {"halfpenny.py"}
    found = installed_of(wheel)

    about = {name for name in found if name.startswith("halfpenny-0.1.0.dist-info/")}
    assert set(found) - about == shipped
    assert {name.rpartition("/")[2] for name in about} == {
        "METADATA", "WHEEL", "RECORD", "LICENSE", "entry_points.txt",
    }  # fmt: skip
    assert {"ledger/pricebook.toml", "ledger/views/10_calls.sql", "reports/templates/report.html.j2"} < set(found)
    assert not [name for name in found if name.endswith((".pth", ".pyc", ".so"))]  # nothing that runs by being there
    assert set(found.values()) == {"644"}


def test_the_lock_pins_what_the_wheel_asks_for(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        asked = BytesParser(policy=compat32).parsebytes(packed.read("halfpenny-0.1.0.dist-info/METADATA"))
    wanted = [Requirement(one) for one in asked.get_all("Requires-Dist", [])]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", lock, re.MULTILINE))

    assert len(wanted) > 25
    assert set(asked.get_all("Provides-Extra", [])) == set(EXTRAS) - {""}
    for one in wanted:
        # Without a condition on the system, as for every platform: the lock must have it wherever it is asked for.
        assert one.marker is None or any(one.marker.evaluate({**default_environment(), "extra": e}) for e in EXTRAS)
        name = one.name.lower().replace("_", "-")
        assert one.specifier.contains(pinned[name], prereleases=True), (one, pinned[name])


def test_the_wheel_installs_into_an_environment_of_its_own_and_its_command_works(wheel: Path, tmp_path: Path) -> None:
    """What it needs is lent by this environment, by a path that no .pth of an editable install follows."""
    python = tmp_path / "env" / "bin" / "python"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_", "HALFPENNY_"))}
    own = sysconfig.get_path("purelib", vars={"base": str(tmp_path / "env")})
    lent = clean | {"PYTHONPATH": os.pathsep.join((own, sysconfig.get_path("purelib")))}

    def run(*words: str | Path, env: dict[str, str] = lent) -> str:
        return subprocess.run(words, cwd=tmp_path, env=env, check=True, capture_output=True, text=True).stdout

    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "env", env=clean)
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install", "--quiet")
    run(*pip, "--no-index", "--no-deps", wheel, env=clean)
    command = python.parent / "halfpenny"

    assert Path(run(python, "-c", "import halfpenny; print(halfpenny.__file__)").strip()).is_relative_to(tmp_path)
    assert "halfpenny demo" in run(command, "--help")
    run(command, "init", "--home", "home")
    assert "mistralai/Mistral-Medium-3" in run(command, "price", "list", "--home", "home")
    assert not list((tmp_path / "env").rglob("*.pth"))
