"""What devices say without being asked: events, reports of jobs, values of streams, their status.

    buffer     what waits to be read, with a bound
    web        a message on `command/web`, read
    devices    which devices there are, by their retained `status`
    told       who reads what of it
    info       what one of them serves

Begin with `told`.
"""
