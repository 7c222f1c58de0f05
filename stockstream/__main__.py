"""Lets ``python -m stockstream`` do what the command ``stockstream`` does."""

from stockstream.cli import main

if __name__ == "__main__":
    main()
