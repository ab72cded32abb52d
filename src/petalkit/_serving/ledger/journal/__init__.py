"""The journal: a write-ahead log of commands and messages, as an SQLite file.

    writer        the thread that waits for the disk
    age           what is too old, by a clock that can be wrong
    records       what it is told and what it gives back, as values
    rows          rows of the file, read as those values
    schema        its tables, versions, and the check that it is one of ours
    forms         commands and messages in the form in which it keeps them
    lock          one runtime per journal
    pruning       what it forgets, and when
    file          the file as `petalkit journal` sees it
    batch         what is written together, in one transaction
    store         the file while a runtime uses it
    write_ahead   what has to be on disk before something else may happen

Begin with `write_ahead`.
"""
