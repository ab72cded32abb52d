"""TARGET, from a word on the command line to a petal.

    places          the word: module, file, folder or entry point
    process_state   what code of a petal changes of the process, put back
    guarding        a call of a petal's code
    neighbours      names that a folder claims for the modules beside a petal
    importing       to module and name
    petal_options   a petal's table in the configuration file
    host_petals     petals of the guide
    making          to an instance
    targets         all of them, to be served together

Begin with `targets`.
"""
