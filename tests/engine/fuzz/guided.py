"""Runs one target under libFuzzer; arguments are its name and options of libFuzzer.

Bytes that reach new code are kept and changed further. What is printed, and the exit status, are
libFuzzer's.
"""

import sys

import atheris

with atheris.instrument_imports(include=["stockstream.engine", "socketio.packet"]):
    from tests.engine.fuzz.targets import TARGETS


def main() -> None:
    """Run the target named by the first argument; does not return."""
    program, name, *options = sys.argv
    atheris.Setup([program, *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
