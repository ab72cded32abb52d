"""From an address to an open stream: names, proxies, TLS, WebSockets, secrets, other servers.

    credentials           secrets from files and functions, read at each connect
    websocket             a WebSocket as a stream
    websocket_refused     what a server said instead
    proxy_tunnel          HTTP CONNECT
    kept_sessions         which sessions of earlier links may still be there
    websocket_settings    path, headers and subprotocol
    tls                   addresses, and contexts that verify
    websocket_handshake   the way into one
    sockets               TCP and Unix sockets, by all addresses of a name
    referrals             servers that a broker sends us to (section 4.11)

It may import `_contract`, `_line` and `_forks`; it knows no client of MQTT. Begin with `sockets`.
"""
