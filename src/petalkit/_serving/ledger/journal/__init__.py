"""The journal: a log of commands and messages, and the SQLite file that it is folded into.

    operations    what it is told, as values
    schema        the tables of the database, versions, and the check that it is one of ours
    place/        folder, files and lock
    forgetting/   what it forgets, and when
    folding/      many operations, put into the database by few statements
    log/          what was put down last, on disk by one write each
    file          the file as `petalkit journal` sees it
    reader        what is read again while a runtime uses the file
    store         both while a runtime uses them
    writing/      what is put down, on its way to the disk
    write_ahead   what has to be on disk before something else may happen

Begin with `write_ahead`.
"""
