"""What `pip install .` gives."""

import configparser
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.support.processes import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from a copy so that nothing is left in the checkout."""
    source = tmp_path_factory.mktemp("source")
    without = shutil.ignore_patterns("__pycache__", "node_modules")
    shutil.copytree(ROOT / "stockstream", source / "stockstream", ignore=without)
    for name in ("setup.cfg", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    target = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(target), str(source))
    return next(target.glob("stockstream-*.whl"))


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    subprocess.run(command, check=True, timeout=50)


def test_wheel_contains_every_file_of_the_package(wheel: Path) -> None:
    package = ROOT / "stockstream"
    files = {path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    # The browser module is npm's to pack.
    files -= set((package / "web").rglob("*"))
    expected = {path.relative_to(ROOT).as_posix() for path in files}
    assert expected <= set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.slow
def test_installed_package_gives_the_command(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    pip("--python", str(environment), "install", "--no-deps", "--no-index", str(wheel))
    # The dependencies come from the environment that runs the tests: no network is needed.
    site_packages = next(environment.glob("lib/python3*/site-packages"))
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    help_text = subprocess.run(
        [environment / "bin" / "stockstream", "--help"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert all(command in help_text for command in ("serve", "watch", "config"))


def test_every_dependency_is_pinned_in_the_locks() -> None:
    assert declared("options", "install_requires") <= pinned("runtime.txt")
    assert declared("options", "install_requires") <= pinned("dev.txt")
    for extra in ("parquet", "test", "dev"):
        assert declared("options.extras_require", extra) <= pinned("dev.txt")


def declared(section: str, option: str) -> set[str]:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    names = set(re.findall(r"^[\w-]+", settings[section][option], re.MULTILINE))
    # An extra names the project itself where it takes in another extra.
    return names - {"stockstream"}


def pinned(lock: str) -> set[str]:
    text = (ROOT / "requirements" / lock).read_text()
    return set(re.findall(r"^([\w-]+)==", text, re.MULTILINE))
