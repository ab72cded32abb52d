"""Long work: what a job says of itself, and what its method is handed. It knows no runtime.

    progress   how far a job is, also in weighted steps that run side by side
    handle     `Job`: what a job's method reports to, and asks
    options    what `@job` says, and what of it cannot be used
    job        `@job`
    stream     `@stream`, and what of it cannot be used

It may import `_values` and the rest of `_authoring`. Begin with `job`.
"""
