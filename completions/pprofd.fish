# SPDX-License-Identifier: Apache-2.0
# Options are those of `pprofd --help`, asked when this is loaded; here stands only what values look like.

function __pprofd_values # OPTION -> values, one a line
    switch $argv[1]
        case heap
            printf '%s\n' inuse allocs off
        case wait
            printf '%s\n' on strict off
        case max-overhead
            printf '%s\n' 0 1 2 5 none
        case format
            printf '%s\n' pprof top folded dump go perfetto
        case debug
            printf '%s\n' 1 2
        case track
            printf '%s\n' fd mmap thread
        case listen
            printf '%s\n' localhost:6060 unix:/run/pprofd.sock
        case pid
            __fish_complete_pids
        case keep-dir debuginfod-cache
            __fish_complete_directories
        case output btf config web.config.file
            __fish_complete_path
    end
end

function __pprofd_load # CONDITION COMMAND...
    for line in (env ARGP_HELP_FMT=rmargin=20000 $argv[2..] --help 2>/dev/null)
        set -l m (string match -r '^ +(|-., )(--[a-z0-9.-]+)(|\[?=[^ ]+) +(.*)$' -- $line); or continue
        set -l long (string sub -s 3 -- $m[3])
        set -l short (string match -r '^-(.),' -- $m[2])
        set -l more
        test -z "$short[2]"; or set more $more -s $short[2]
        test -z "$m[4]"; or set more $more -x -a "(__pprofd_values $long)"
        complete -c pprofd -n $argv[1] -l $long $more -d $m[5]
    end
end

complete -c pprofd -f
complete -c pprofd -n __fish_use_subcommand -a record -d 'write one profile and end'
complete -c pprofd -n '__fish_seen_subcommand_from record' -a 'profile heap allocs growth block mutex offcpu wall goroutine threadcreate trace'
__pprofd_load 'not __fish_seen_subcommand_from record' pprofd
__pprofd_load '__fish_seen_subcommand_from record' pprofd record
