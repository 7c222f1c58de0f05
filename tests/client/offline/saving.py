"""A program that changes documents until it is killed: ``saving.py <url> <file> <first number>``.

It prints the number of each change once it is said to be safe.
"""

import asyncio
import itertools
import sys

from stockstream import OfflineDataManager, StockClient


async def main(url: str, path: str, first: int) -> None:
    client = StockClient(url, reconnect_interval=0.01)
    async with client, OfflineDataManager(client, path, retry_delay=0.01) as documents:
        for number in itertools.count(first):
            document_id = f"d{number % 3}"
            numbers = (documents.get("note", document_id) or {"numbers": []})["numbers"]
            await documents.save("note", document_id, {"numbers": [*numbers, number]})
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
