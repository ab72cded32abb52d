"""The ledger: what became of each command, and what is still owed, under one contract.

    records            what is given back of an earlier process, as values
    entry              a command as a ledger sees it
    forms              commands and messages as records have them, and back
    journal/           the file on disk: written ahead, recovered after a crash
    remembered/        which `messageId` is live, has finished, or ran a short while ago
    recent_refusals    commands that were answered "not now", when the same bytes come again
    owed_messages      messages that are owed to the broker
    notes              what jobs and two-phase commands keep beside the commands
    acknowledgement    when a delivery is acknowledged: the one place that decides it
    contract           what every ledger keeps
    memory             without a journal
    journal_backed     what one with a journal only asks it, or tells it
    disk               with one

It knows nothing of links and handlers. Begin with `contract`; a ledger of another kind is a module
beside `memory` and `disk`, chosen in `wiring`. A new case of when to acknowledge is a row of the
table in `acknowledgement`.
"""
