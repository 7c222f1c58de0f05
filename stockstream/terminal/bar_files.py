"""Bars as files: CSV and Parquet."""

import csv
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Final, Protocol

from stockstream.model import Bar, Symbol, Timeframe

#: Columns; `timestamp` is the start of the bar, in ms since the epoch (Parquet: as a time, UTC).
COLUMNS: Final = ("timestamp", "open", "high", "low", "close", "volume")


class FileFormat(StrEnum):
    """How bars are written."""

    CSV = "csv"
    PARQUET = "parquet"


class BarWriter(Protocol):
    """Writes bars, some at a time."""

    def write(self, bars: Sequence[Bar]) -> None:
        """Append bars."""

    def close(self) -> None:
        """Write what belongs at the end."""


class CsvWriter:
    """A header, and a line for each bar."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        # Not written before there is an answer: a refusal leaves nothing behind.
        self._header = ",".join(COLUMNS) + "\n"

    def write(self, bars: Sequence[Bar]) -> None:
        """Append bars; numbers are written so that reading gives the very same."""
        lines = _Lines()
        csv.writer(lines, lineterminator="\n").writerows(
            [getattr(bar, column) for column in COLUMNS] for bar in bars
        )
        self._write("".join(lines.parts))

    def close(self) -> None:
        """Write the header where there were no bars at all."""
        self._write("")

    def _write(self, text: str) -> None:
        self._file.write((self._header + text).encode())
        self._file.flush()
        self._header = ""


class _Lines:
    def __init__(self) -> None:
        self.parts: list[str] = []

    def write(self, text: str) -> None:
        self.parts.append(text)


class ParquetWriter:
    """A row group for each page; symbol and timeframe stand in the metadata."""

    def __init__(self, file: IO[bytes], symbol: Symbol, timeframe: Timeframe) -> None:
        # Only here: few need it, and it takes its time.
        import pyarrow as pa  # noqa: PLC0415
        from pyarrow import parquet  # noqa: PLC0415

        self._arrow: Any = pa
        start, *numbers = COLUMNS
        fields = [(start, pa.timestamp("ms", tz="UTC"))]
        fields += [(number, pa.float64()) for number in numbers]
        metadata = {"symbol": symbol, "timeframe": str(timeframe)}
        self._schema = pa.schema(fields, metadata=metadata)
        self._writer: Any = parquet.ParquetWriter(file, self._schema)

    def write(self, bars: Sequence[Bar]) -> None:
        """Append bars."""
        columns = [[getattr(bar, column) for bar in bars] for column in COLUMNS]
        arrays = [
            self._arrow.array(column, kind)
            for column, kind in zip(columns, self._schema.types, strict=True)
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        """Write the footer, without which the file can't be read."""
        self._writer.close()


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes its name when the block has ended well; before, nothing is replaced.

    Raises:
        OSError: it can't be written; what stood there before still does.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            # A machine that goes down must not leave an empty file under the name.
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def give_up_stdout() -> None:
    """Have nothing more written to who reads no more, not even by the interpreter at its end."""
    with open(os.devnull, "wb") as devnull:  # noqa: PTH123 - a device, not a path
        os.dup2(devnull.fileno(), sys.stdout.fileno())
