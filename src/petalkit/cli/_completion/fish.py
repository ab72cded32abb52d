"""The script for fish, which asks of each line of its own whether it fits."""

from __future__ import annotations

from collections.abc import Sequence

from .tables import filled, groups, quoted, with_value
from .words import Option, Words

_FISH = """\
# Completion of petalkit for fish: put it into ~/.config/fish/completions/petalkit.fish
function __petalkit_at
    # Whether the cursor is behind this command, and with a number, at this word behind it.
    set -l command
    set -l number 0
    set -l expects
    for word in (commandline -opc)[2..-1]
        if test -n "$expects"
            set expects
            continue
        end
        switch $word
            case @WITH_VALUE@
                set expects $word
            case '-*'
            case '*'
                if test -z "$command"
                    set command $word
                else if contains -- $command @GROUPS@; and test $number -eq 0
                    set command "$command $word"
                else
                    set number (math $number + 1)
                end
        end
    end
    test "$command" = "$argv[1]"; or return 1
    test (count $argv) -lt 2; and return 0
    test -z "$expects"; or return 1
    test "$argv[2]" = many; or test $number -eq $argv[2]
end
function __petalkit_names
    set -l words (commandline -opc)
    $words[1] complete-names $argv[1] (commandline -cp) 2>/dev/null
end
complete -c petalkit -f
complete -c petalkit -n "__petalkit_at ''" -l help -s h -d 'Show the commands'
complete -c petalkit -n "__petalkit_at ''" -l version -d 'Show versions'
"""


def fish(words: Sequence[Words]) -> str:
    """The script for fish."""
    valued = " ".join(quoted(one) for one in with_value(words).split("|"))
    parts = {"WITH_VALUE": valued, "GROUPS": groups(words).replace("|", " ")}
    lines = [filled(_FISH, parts).rstrip("\n")]
    for one in words:
        if " " not in one.name:
            at = "__petalkit_at '' 0"
            lines.append(f'complete -c petalkit -n "{at}" -a {one.name} -d {quoted(one.help)}')
        if one.choices:
            values = quoted(" ".join(one.choices))
            lines.append(f"complete -c petalkit -n \"__petalkit_at '{one.name}' 0\" -a {values}")
        for number, kind in enumerate(one.positionals):
            many = number == len(one.positionals) - 1 and kind in ("files", "watchable")
            at = f"__petalkit_at '{one.name}' {'many' if many else number}"
            if kind == "files":
                lines.append(f'complete -c petalkit -n "{at}" -F')
            elif kind:
                lines.append(f'complete -c petalkit -n "{at}" -a "(__petalkit_names {kind})"')
        lines += (_fish_option(one.name, option) for option in one.options)
    return "\n".join(lines) + "\n"


def _fish_option(command: str, option: Option) -> str:
    names = " ".join(
        f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names
    )
    value = ""
    if option.takes_value:
        value = " -r -F" if option.kind == "files" else " -x"
        if option.choices:
            value += f" -a {quoted(' '.join(option.choices))}"
        elif option.kind not in ("", "files"):
            value += f' -a "(__petalkit_names {option.kind})"'
    at = f"__petalkit_at '{command}'"
    return f'complete -c petalkit -n "{at}" {names}{value} -d {quoted(option.help)}'
