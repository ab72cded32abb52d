"""Settings from the command line, the environment and a file.

    variables           variables that are no settings
    proxy_environment   HTTPS_PROXY and NO_PROXY
    loading             the three, in order of precedence

Begin with `loading`.
"""
