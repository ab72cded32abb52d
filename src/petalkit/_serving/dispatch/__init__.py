"""Dispatch: accepted commands become calls of handlers, in order, and each gets one final state.

    execution          one accepted command, and the call of its handler
    unknown_commands   commands that no petal serves
    queue              accepted commands that have not started; order and limits
    finalization       the one final state: recorded, answered, acknowledged
    left_open          cancel scopes that a handler did not leave
    scheduler          which command starts next, and what must be on disk before
    dispatcher         a bounded memory channel in, worker tasks, outcomes out

Begin with `dispatcher`.
"""
