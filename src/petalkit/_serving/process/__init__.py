"""A whole process: what a service does beside serving.

    outlets      writing to a descriptor without ever waiting for room
    log_stream   lines to a descriptor, without waiting for its reader
    standard_streams  standard output and error go the same way; last words
    signals      the first one stops, the second one ends
    leaving      what petals leave running does not hold up the end
    systemd      ready, stopping, alive
    logs         what log lines look like
    run          signals, logging, exit codes around `serve`

Begin with `run`.
"""
