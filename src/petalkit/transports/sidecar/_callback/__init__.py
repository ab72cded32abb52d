"""Our side of HTTP: what the sidecar calls, and the connections on which it does.

    idle          which connections are idle, and who makes room
    bodies        the same of bodies that are on their way
    connections   one connection: Hypercorn's protocol with our limits
    server        all of them, and how many there may be
    requests      what a request has to be
    app           messages in, each answered when it is accepted

It may import `_link` and what stands before it. Begin with `app`.
"""
