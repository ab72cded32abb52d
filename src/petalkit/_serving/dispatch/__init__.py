"""Dispatch: accepted commands become calls of handlers, in order, and each gets one final state.

    execution          one accepted command, and the lines in which it waits
    calling            the call of its handler, and what becomes of what that returns or raises
    catalog            what is served, and what is said of what is not
    queueing/          accepted commands that have not started; order and limits
    finalization       the one final state: recorded, answered, acknowledged
    after_answer/      what goes on after the answers of commands
    redelivered        one that may have killed the process before, and what protects the next
    left_open          cancel scopes that a handler did not leave
    scheduler          which command starts next, and what must be on disk before
    slots              who has one, and how it is given back
    overdue            those that keep a slot beyond their time
    workers            tasks that take the next command and call its handler
    urgent             what passes all that, in a task each
    dispatcher         the parts put together: commands in, outcomes out

Begin with `dispatcher`.
"""
