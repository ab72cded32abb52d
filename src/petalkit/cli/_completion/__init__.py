"""Tab completion: scripts for shells, and the names that only a broker knows.

    words     what the command line is made of, read from the parser
    tables    words in lists, for any shell
    cases     the scripts for bash and zsh
    fish      the script for fish
    scripts   all three
    kept      names that were found, in files, for a while
    names     commands of a device, devices and jobs, within a second and without a word
    command   `completion`

Begin with `words`.
"""
