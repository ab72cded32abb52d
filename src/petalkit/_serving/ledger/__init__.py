"""The ledger: what became of each command, and what is still owed.

    journal/           the same on disk: written ahead, recovered after a crash
    recent_refusals    commands that were answered "not now", when the same bytes come again
    posts              messages that are owed to the broker, as the journal is told of them
    duplicate_window   which `messageId` is queued, running, or finished with which answer

It knows nothing of links and handlers. Begin with `duplicate_window`.
"""
