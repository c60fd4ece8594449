"""A pen that makes garbage and collects it all the time: `micropython littering_main.py MAIN FLASH`.

The firmware runs as always, with one task more, which leaves lists behind and has them collected, every
few milliseconds: a firmware that allocates much more than ours does.
"""

import asyncio
import gc
import sys

NAP_S = 0.003

_run = asyncio.run


async def _litter():
    while True:
        for length in range(20):
            list(range(length))
        gc.collect()
        await asyncio.sleep(NAP_S)


async def _beside(main):
    task = asyncio.create_task(_litter())
    try:
        return await main
    finally:
        task.cancel()


asyncio.run = lambda main: _run(_beside(main))
sys.argv.pop(0)
sys.path.insert(0, sys.argv[0].rsplit("/", 1)[0])
sys.exit(__import__("main").main())
