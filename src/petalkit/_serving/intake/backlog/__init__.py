"""Commands that are accepted and wait in the ledger only: too many for the channel.

    contract    what is asked of a backlog, and the one that has no room
    taking_up   from a record to a command in its line
    lanes       the order of those that wait
    in_ledger   those that wait, in whichever ledger it is

Begin with `contract`.
"""
