"""The asyncio loop of petals of the guide.

    batches       what is ready, run in batches
    calls         tasks, and on whose behalf each runs
    threads       worker threads beside it
    hardening     what such a loop does differently from trio-asyncio's
    asyncio_loop  that loop, and whose each task in it is
    loop          one petal in it, and the end of all that is its own

It knows asyncio, and nothing of commands. Begin with `loop`.
"""
