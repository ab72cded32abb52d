"""Settings from the command line, the environment and a file.

    variables           variables that are no settings
    names               the settings that can be loaded
    conversion          a text or a TOML value becomes what a setting holds
    toml_file           the configuration file
    layers              command line, environment and file as one, with the origin of each value
    proxy_environment   HTTPS_PROXY and NO_PROXY
    loading             all of it, in order of precedence

It may import `_values`. Begin with `loading`.
"""
