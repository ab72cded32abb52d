"""The journal: a write-ahead log of commands and messages, the SQLite file of `disk`.

    operations    what it is told, as values
    rows          rows of the file, read as records
    schema        its tables, versions, and the check that it is one of ours
    place/        folder, file and lock
    forgetting/   what it forgets, and when
    file          the file as `petalkit journal` sees it
    statements    SQL of many rows each
    batch         what is written together, in one transaction
    reader        what is read again while a runtime uses the file
    store         the file while a runtime uses it
    writing/      what is put down, on its way to the disk
    write_ahead   what has to be on disk before something else may happen

Begin with `write_ahead`.
"""
