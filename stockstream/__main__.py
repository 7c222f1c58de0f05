"""What the command ``stockstream`` does first; ``python -m stockstream`` does the same."""

import os
import signal


def main() -> None:
    """Run the command line; ends the process with its exit status."""
    if os.getpid() == 1:
        # Process 1 of a container is not ended by a signal that it has no handler for. Loading
        # everything takes a second or more, and who stops it then would have to wait for the kill.
        signal.signal(signal.SIGTERM, lambda number, _frame: os._exit(128 + number))
    from stockstream.cli import main as run  # noqa: PLC0415 - see above

    run()


if __name__ == "__main__":
    main()
