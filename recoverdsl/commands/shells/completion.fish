# Completion of recoverdsl for fish 3.1 or newer. Made by `recoverdsl completion fish`.

function __recoverdsl_complete
    set -l typed (commandline --cut-at-cursor --current-process | string collect)
    set -l word (commandline --current-token --cut-at-cursor | string unescape)
    for line in (env COMP_LINE="$typed" _RECOVERDSL_COMPLETE=fish_complete recoverdsl 2>/dev/null)
        set -l field (string split \t -- $line)
        switch $field[1]
            case spec
                __fish_complete_path "$word" | string match --regex '^(?:.*/|.*\.rec)(?:\t.*)?$'
            case dir
                __fish_complete_directories "$word"
            case file
                __fish_complete_path "$word"
            case '*'
                printf '%s\t%s\n' $field[2] "$field[3]"
        end
    end
end

complete --command recoverdsl --no-files --keep-order --arguments '(__recoverdsl_complete)'
