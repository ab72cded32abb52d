"""Tab completion: scripts for shells, and the names that only a broker knows.

    words     what the command line is made of, read from the parser
    scripts   that as a script for bash, zsh or fish
    kept      names that were found, in files, for a while
    names     commands of a device, devices and jobs, within a second and without a word
    command   `completion`

Begin with `words`.
"""
