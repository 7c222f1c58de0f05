"""The command behind scripts/fuzz."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from tests.engine.fuzz.targets import SEEDS, TARGETS

#: Longest input that is tried, in bytes; MiB that the process may take.
MAX_BYTES = 4_096
MAX_MIB = 1_024
#: Seconds after which one input counts as one that hangs.
HANG_S = 5


def prepare(folder: Path, name: str) -> Path:
    """Return the folder of a target's inputs, with at least its seeds in it."""
    inputs = folder / name
    inputs.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (inputs / f"seed-{number}").write_bytes(seed)
    return inputs


def fuzz(name: str, seconds: int, folder: Path) -> bool:
    """Run one target for so long; whether nothing was found."""
    typer.secho(f"── {name}, {seconds} s", bold=True)
    inputs = prepare(folder, name)
    command = [sys.executable, "-m", "tests.engine.fuzz.guided", name, str(inputs)]
    command += [f"-max_total_time={seconds}", f"-max_len={MAX_BYTES}", f"-timeout={HANG_S}"]
    command += [f"-rss_limit_mb={MAX_MIB}", f"-artifact_prefix={folder / name}-", "-verbosity=0"]
    command += ["-print_final_stats=1"]
    return subprocess.run(command, check=False).returncode == 0


def main(
    targets: Annotated[
        list[str] | None, typer.Argument(help=f"Any of: {', '.join(TARGETS)}; all by default.")
    ] = None,
    *,
    seconds: Annotated[int, typer.Option(min=1, help="Time for each target.")] = 60,
    folder: Annotated[
        Path, typer.Option(help="Where inputs that reach new code, and those that fail, are kept.")
    ] = Path(".fuzz"),
    reproduce: Annotated[
        Path | None, typer.Option(help="Run one target once, with the bytes of this file.")
    ] = None,
) -> None:
    """Feed the engine's parsers made-up bytes, guided by the code that they reach.

    The exit status is 1 when something other than the engine's own errors came of them; the bytes
    are in a file whose name is printed, for --reproduce. Needs CPython 3.11 to 3.13 on Linux.
    """
    chosen = targets or list(TARGETS)
    unknown = set(chosen) - set(TARGETS)
    if unknown:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: not among {', '.join(TARGETS)}")
    if reproduce is not None:
        if len(chosen) != 1:
            raise typer.BadParameter("say which target the file is for")
        TARGETS[chosen[0]](reproduce.read_bytes())
        return
    failed = [name for name in chosen if not fuzz(name, seconds, folder)]
    if failed:
        typer.secho(f"failed: {', '.join(failed)}", fg="red", err=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command()(main)
    app(prog_name="scripts/fuzz")
