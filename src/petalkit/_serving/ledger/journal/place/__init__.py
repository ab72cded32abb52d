"""Where the journal stands: its folder, its file, and what stands beside it.

    files    the folder and the file, made for their owner only
    mounts   what is mounted there, and cannot have a journal
    rights   who else may write there
    watch    whether all is still there, while it is in use
    lock     one runtime per journal

It knows no SQL. Begin with `lock`.
"""
