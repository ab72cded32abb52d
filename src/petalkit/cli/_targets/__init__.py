"""TARGET, from a word on the command line to a petal.

    neighbours      names that a folder claims for the modules beside a petal
    importing       to module and name
    petal_options   a petal's table in the configuration file
    host_petals     petals of the guide
    targets         to an instance

Begin with `targets`.
"""
