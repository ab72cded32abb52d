"""Authoring: what a petal is, before anything runs. It knows no runtime.

    unknown_keys   keys of `data` that a handler has no use for
    inspection/    looking at classes and functions that others have written
    context        what a handler may ask for, and how a petal reaches its runtime
    collecting     which methods of a class are commands, and who marked them
    declared       what a petal and `@command` say, and what of it cannot be used
    jobs/          long work: what `@job` says, and what its method is handed
    signature/     what a handler takes and returns, resolved once
    spec           one command, ready to be called
    schemas        commands as JSON Schema
    registry       the table of commands
    command        `@command`
    petal          `Petal`

It may import `_values`. Begin with `petal`; a new option of `@command` is a field of
`CommandOptions` in `declared`; what it does to a command is asked of its `CommandSpec` by whoever
has the rule: when it is acknowledged, `_serving/ledger/acknowledgement`.
"""
