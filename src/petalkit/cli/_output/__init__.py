"""What commands print.

    printing   lines for people, in colours where they are wanted, and JSON for programs
    versions   `--version`
    help       what is shown of the options

Begin with `printing`.
"""
