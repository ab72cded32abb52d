"""Settings as one frozen value.

    checks              what cannot be used is refused by its setting's name
    reach               settings that do nothing on some transport
    proxies             an HTTP proxy, and what the environment says of it
    server_references   another server that a broker names, and which may be followed
    settings            the fields

Begin with `settings`.
"""
