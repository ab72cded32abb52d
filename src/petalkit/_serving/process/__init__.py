"""A whole process: what a service does beside serving.

    collector    Python's collector of cycles, in a process that is ours
    outlets      writing to a descriptor without ever waiting for room
    passes       where a pass of the event loop ends, for the log
    log_stream   lines to a descriptor, without waiting for its reader
    standard_streams  standard output and error go the same way; last words
    signals      the first one stops, the second one ends
    leaving      what petals leave running does not hold up the end
    systemd      ready, stopping, alive
    log_lines    what log lines look like
    logs         whose they are, and where to
    run          signals, logging, exit codes around `serve`

Begin with `run`.
"""
