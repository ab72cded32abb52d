"""What goes on after the answers of commands.

    beside         what the dispatcher asks of jobs and streams, which end with their petals
    second_phase   commands that are answered before they end

Begin with `second_phase`.
"""
