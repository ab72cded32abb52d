"""What is remembered in memory of commands that have finished, by their `messageId`.

    replay_window      which ran a short while ago, whatever has come since
    duplicate_window   which is queued, running, or finished with which answer

Begin with `duplicate_window`.
"""
