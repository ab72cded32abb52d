"""What has nothing to do with commands.

    clocks       wall clocks, whether one can be right, and how long the machine was suspended
    near         which of some names a misspelt one may have meant
    files        opening files that somebody names, without waiting
    words        a number with its noun: 1 event, 2 events
    host_names   the names under which an HTTP server of ours is called
    version      the version of this package

No one of them knows another. Begin with any.
"""
