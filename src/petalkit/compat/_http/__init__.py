"""HTTP and WebSocket endpoints of petals of the guide, served as their host serves them.

    endpoints    what a petal marks as such, without serving it
    answers      what we answer in place of a petal
    guard        who may ask: host name, origin, token
    inbox        a request on its way to who serves it
    connection   one connection: Hypercorn's protocol with our limits
    server       all of them, and how many there may be
    bodies       how long a body may be, and how slow
    crossing     one request in its petal's loop
    health       what the host's own addresses say of how it is
    site         the FastAPI application of all petals that are served
    requests     from a request to its petal, and back
    service      all of it, as the runtime runs it

FastAPI, Starlette and Hypercorn are an extra, and imported by `connection` and what follows it
only, when the endpoints are opened. Begin with `service`.
"""
