"""The asyncio loop of one petal.

    calls       tasks, and on whose behalf each runs
    threads     worker threads beside it
    hardening   what a petal's loop does differently from trio-asyncio's
    loop        that loop, and the end of all that runs in it

It knows asyncio, and nothing of commands. Begin with `loop`.
"""
