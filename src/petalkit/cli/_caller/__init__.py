"""The commands that call a device: `call`, `jobs`, `cancel`, `devices` and `info`.

    data         DATA-JSON
    responses    a response for people and for programs, and what to do next
    options      what all of them have in common
    finding      a device by the start of its ID
    interrupts   Ctrl-C
    session      a connection for one command, and its errors in words
    progress     a job on a terminal
    following    a job that a call has started, to its end
    call         `call`
    jobs         `jobs` and `cancel`
    devices      `devices`
    info         `info`

All of it goes through `petalkit.client`. Begin with `call`.
"""
