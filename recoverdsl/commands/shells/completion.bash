# Completion of recoverdsl for bash 4.4 or newer. Made by `recoverdsl completion bash`.

_recoverdsl() {
    local line=${COMP_LINE:0:COMP_POINT} here=$2 kind value help
    # bash ends words at = and :, and expects only the part after them.
    local word=${line##*[[:space:]]}
    local before=${word%"${word##*[=:]}"}
    COMPREPLY=()
    while IFS=$'\t' read -r kind value help; do
        case $kind in
            spec)
                compopt -o filenames
                mapfile -t COMPREPLY < <(compgen -d -- "$here"; compgen -f -X '!*.rec' -- "$here")
                ;;
            dir)
                compopt -o filenames
                mapfile -t COMPREPLY < <(compgen -d -- "$here")
                ;;
            file)
                compopt -o filenames
                mapfile -t COMPREPLY < <(compgen -f -- "$here")
                ;;
            *) COMPREPLY+=("${value#"$before"}") ;;
        esac
    done < <(COMP_LINE=$line _RECOVERDSL_COMPLETE=bash_complete "$1" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=:/.] ]]; then
        compopt -o nospace
    fi
}

complete -o nosort -F _recoverdsl recoverdsl
