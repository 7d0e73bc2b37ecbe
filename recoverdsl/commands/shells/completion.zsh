#compdef recoverdsl
# Completion of recoverdsl for zsh. Made by `recoverdsl completion zsh`.

_recoverdsl() {
    local line kind value help
    local -a whole begun
    local typed="${(j: :)words[1,CURRENT]}"
    for line in "${(@f)$(COMP_LINE=$typed _RECOVERDSL_COMPLETE=zsh_complete ${words[1]} 2>/dev/null)}"; do
        IFS=$'\t' read -r kind value help <<< "$line"
        case $kind in
            spec) _files -g '*.rec' ;;
            dir) _files -/ ;;
            file) _files ;;
            plain)
                # No space follows a value that continues.
                if [[ $value == *[=:/.] ]]; then
                    begun+=("${value//:/\\:}:$help")
                else
                    whole+=("${value//:/\\:}:$help")
                fi
                ;;
        esac
    done
    (( $#whole )) && _describe -V 'recoverdsl' whole
    (( $#begun )) && _describe -V 'recoverdsl' begun -S ''
    return 0
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _recoverdsl "$@"
else
    compdef _recoverdsl recoverdsl
fi
