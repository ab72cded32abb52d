"""`petalkit schema`: what is served, as a document or as a client for programs.

    words         identifiers, texts and comments of generated code
    contract      what is said to be served, read; it may be said by a device
    models        the models of all schemas, each under one name
    shapes        schemas as types
    groups        commands, jobs and streams, with the names that they have in a module
    envelopes     what is around data on the wire, as JSON Schema
    json_schema   JSON Schemas
    asyncapi      an AsyncAPI document
    typescript    a TypeScript module; `petalkit.ts` is its fixed part
    python        a Python module
    sources       from petals or a device to a contract
    command       the command

The way is `sources`, `contract`, `models`, `shapes`, `groups`, and then a format. Begin with
`command`.
"""
