"""Settings as one frozen value.

    checks              what cannot be used is refused by its setting's name
    reach               settings that do nothing on some transport
    proxies             an HTTP proxy, and what the environment says of it
    server_references   another server that a broker names, and which may be followed
    fields              how a setting is declared
    groups/             the fields, by subject
    calling             those of callers
    settings            all groups as one, and what two settings say together
    replay_gap          settings that let a command run twice although its age is judged

Begin with `settings`; a new setting goes to its group in `groups/`, one of
callers to `calling`.
"""
