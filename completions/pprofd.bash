# SPDX-License-Identifier: Apache-2.0
# Options are those of `pprofd --help`, asked when they are wanted; here stands only what values look like.

_pprofd_options() { # PROGRAM [record] -> --name or --name=
	"$@" --help 2>/dev/null | sed -nE 's/^ +(-., )?(--[a-z0-9.-]+(=?))[^ ]*.*/\2/p; s/^ +(-., )?(--[a-z0-9.-]+)\[=.*/\2=/p'
}

_pprofd_values() { # OPTION -> values, or @file, @directory
	case $1 in
	--heap) echo inuse allocs off ;;
	--wait) echo on strict off ;;
	--max-overhead) echo 0 1 2 5 none ;;
	--format) echo pprof top folded dump go perfetto ;;
	--debug) echo 1 2 ;;
	--track) echo fd mmap thread ;;
	-l | --listen) echo localhost:6060 unix:/run/pprofd.sock ;;
	-p | --pid) ps -e -o pid= 2>/dev/null ;;
	-o | --output | --btf | --config | --web.config.file) echo @file ;;
	--keep-dir | --debuginfod-cache) echo @directory ;;
	esac
}

_pprofd() {
	local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} option='' values
	local -a command=("${COMP_WORDS[0]/#\~/$HOME}")
	COMPREPLY=()
	[ "${COMP_WORDS[1]}" != record ] || [ "$COMP_CWORD" = 1 ] || command+=(record)
	# "--heap=in" comes as three words
	if [ "$current" = = ]; then
		option=$before current=
	elif [ "$before" = = ]; then
		option=${COMP_WORDS[COMP_CWORD - 2]}
	elif [[ $before == -* ]]; then
		option=$before
	fi
	values=${option:+$(_pprofd_values "$option")}
	case $values in
	@file) COMPREPLY=($(compgen -f -- "$current")) && compopt -o filenames 2>/dev/null ;;
	@directory) COMPREPLY=($(compgen -d -- "$current")) && compopt -o filenames 2>/dev/null ;;
	?*) COMPREPLY=($(compgen -W "$values" -- "$current")) ;;
	esac
	[ -z "$values" ] || return 0
	if [[ $current == -* ]]; then
		COMPREPLY=($(compgen -W "$(_pprofd_options "${command[@]}")" -- "$current"))
		[[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace 2>/dev/null
	elif [ "$COMP_CWORD" = 1 ]; then
		COMPREPLY=($(compgen -W record -- "$current"))
	elif [ "${command[1]-}" = record ]; then
		COMPREPLY=($(compgen -W "profile heap allocs growth block mutex offcpu wall goroutine threadcreate trace" -- "$current"))
	fi
	return 0
}

complete -F _pprofd pprofd
