"""Prepares what the scripts run in: the virtual environment and the npm packages of the tests.

Needs nothing but Python's own library and pip. Does its work once and again only when a lock file
or `setup.cfg` has changed, so that every later start is quick and needs no network.
"""

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = VENV / "setup.log"
#: Folders with npm packages: the tests' JavaScript programs, and the browser module.
NODE_PROJECTS = (ROOT / "tests" / "js", ROOT / "stockstream" / "web")

#: What pip says when it could not reach a package index at all.
NO_NETWORK_SIGNS = ("NewConnectionError", "NameResolutionError", "ConnectTimeout", "ProxyError")


class SetupError(Exception):
    """Something that the user has to mend; its text is one line."""


def main(arguments: list[str]) -> int:
    """Prepare a profile.

    Those are `runtime` (to serve), `dev` (to check), `tests` (`dev` and the npm packages) and
    `fuzz` (`dev` and the fuzzer).
    """
    profile = arguments[0]
    try:
        with (ROOT / ".venv.lock").open("w") as lock:
            # Two terminals may start at once: the second waits, then finds everything done.
            await_turn(lock)
            prepare_python("runtime" if profile == "runtime" else "dev")
            if profile == "fuzz":
                prepare_fuzzer()
            if profile == "tests":
                for project in NODE_PROJECTS:
                    prepare_node(project)
    except (SetupError, OSError) as error:
        print(f"stockstream set-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stockstream set-up: interrupted; the next start does the rest", file=sys.stderr)
        return 130
    return 0


def await_turn(lock: TextIO) -> None:
    """Take the lock, and say so where that takes a while."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("Waiting for the set-up in another terminal ...", file=sys.stderr)
        fcntl.flock(lock, fcntl.LOCK_EX)


def prepare_python(profile: str) -> None:
    """Make the virtual environment hold the profile's locked packages and the project itself."""
    create_venv()
    lock = ROOT / "requirements" / f"{profile}.txt"
    stamp = VENV / f"installed-{profile}"
    # The packages of `dev` contain those of `runtime`: whoever has tested can serve.
    stamps = [stamp] if profile == "runtime" else [stamp, VENV / "installed-runtime"]
    wanted = checksum(lock, ROOT / "setup.cfg")
    if has_stamp(stamp, wanted):
        return
    print("Installing Python packages (only needed once) ...", file=sys.stderr)
    pip("--require-hashes", "--requirement", str(lock))
    pip("--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    for each in stamps:
        source = ROOT / "requirements" / f"{each.name.removeprefix('installed-')}.txt"
        each.write_text(checksum(source, ROOT / "setup.cfg"))


def prepare_fuzzer() -> None:
    """Add what only the fuzzer needs."""
    lock, stamp = ROOT / "requirements" / "fuzz.txt", VENV / "installed-fuzz"
    if has_stamp(stamp, checksum(lock)):
        return
    print("Installing the fuzzer (only needed once) ...", file=sys.stderr)
    pip("--require-hashes", "--requirement", str(lock))
    stamp.write_text(checksum(lock))


def create_venv() -> None:
    """Create the virtual environment, anew if its Python or the project's place has changed."""
    stamp = VENV / "created-for"
    place = f"{ROOT} {sys.version}"
    if has_stamp(stamp, place) and PYTHON.exists():
        return
    base = [sys.executable, "-m", "venv", "--clear"]
    if subprocess.run([*base, str(VENV)], capture_output=True, check=False).returncode:
        # Debian keeps ensurepip in a package of its own; the pip outside can fill the environment.
        run([*base, "--without-pip", str(VENV)], "cannot create .venv")
    stamp.write_text(place)


def pip(*arguments: str) -> None:
    """Run `pip install` for the virtual environment; what it says goes to a log."""
    inside = subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True, check=False)
    command = (
        [str(PYTHON), "-m", "pip"]
        if inside.returncode == 0
        else [sys.executable, "-m", "pip", "--python", str(PYTHON)]
    )
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--retries", "2"]
    run([*command, "install", *options, *arguments], "pip failed")


def prepare_node(project: Path) -> None:
    """Install the locked npm packages of a folder."""
    lock = project / "package-lock.json"
    stamp = project / "node_modules" / ".installed"
    if has_stamp(stamp, checksum(lock)):
        return
    print("Installing npm packages for the tests ...", file=sys.stderr)
    run(["npm", "ci", "--no-audit", "--no-fund", "--prefix", str(project)], "npm ci failed")
    stamp.write_text(checksum(lock))


def run(command: list[str], failure: str) -> None:
    """Run a command with its output in the log.

    Raises:
        SetupError: It failed; the text tells `failure`, the likely cause, and where the log is.
    """
    VENV.mkdir(exist_ok=True)
    with LOG.open("w") as log:
        result = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    if result.returncode == 0:
        return
    raise SetupError(f"{failure}: {likely_cause(LOG.read_text(errors='replace'))} (see {LOG})")


def likely_cause(output: str) -> str:
    """Pick from what a failed command printed the line that helps most."""
    if any(sign in output for sign in NO_NETWORK_SIGNS):
        return "no package index can be reached; the first set-up needs the network"
    lines = output.split("\n")
    complaints = [line for line in lines if "error" in line.lower()] or [
        line for line in lines if line
    ]
    return complaints[-1].strip() if complaints else "it did not say why"


def checksum(*files: Path) -> str:
    """Return a digest of the files' contents."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()


def has_stamp(stamp: Path, text: str) -> bool:
    """Tell whether an earlier run left this text in the stamp."""
    return stamp.exists() and stamp.read_text() == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
