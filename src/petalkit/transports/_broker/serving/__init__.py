"""The broker over sockets: TCP and WebSocket on the same port.

    websocket    a client that begins with HTTP
    connection   one accepted socket: reading, writing, closing
    server       all of them, and the clock: `open_broker`

Begin with `server`.
"""
