"""The asyncio loop of one petal.

    calls     tasks, and on whose behalf each runs
    threads   worker threads beside it
    loop      trio-asyncio, hardened

Begin with `loop`.
"""
