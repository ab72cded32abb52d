"""One client's connection, without a socket: its bytes in, what the core does, bytes out.

    output         what is to be sent to it
    publishing     PUBLISH from the client
    connecting     CONNECT and its answer
    conversation   what each packet does
    client         the connection itself: `ClientConnection`

No I/O. Begin with `client`.
"""
