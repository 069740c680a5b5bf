# The rest is the same for every executor. What is above: $state, $sandbox, $user, $hostname, $hosts, $vmstat, and task, which replaces the
# shell by the command, behind the words it is given. Whoever calls "start" exports $address, the guest's own.
#
#   start        start the command, once; prints pid= and boot_id=      3: no such user  5: may not switch user
#   wait         until the command has ended; prints exit= or signal=, stdout= and stderr= (sizes), and oom= (processes that
#                were killed for want of memory since it began) if there are any and it did not end well
#                                                                       4: never started  6: its end was not recorded
#   kill SIGNAL  signal all that the command has started
#   check NAME   run NAME_job, which is above as well, in the place of the command; prints exit=
#   end-check NAME
#                kill all that it has started
#
# $state, which only root can write:
#   pid      the command's pid, which is also its session, and the boot it belongs to: one short write, before `ready`
#   status   how it ended; made by rename, so it is whole when it is there
#   alive    a FIFO that the supervisor holds open: its end of file is the supervisor's end
#   fetched  the sandbox holds what was fetched, which is to be the command's user's
#   ready    a FIFO that tells `start` of the pid
#   check, health
#            the pid of a check's command while it runs
#   ../named the guest has its name
#
# `start` may also be read into a shell that is there already (`launcher=FILE; set -- start; . FILE`), which spares one.
#
# Nothing is started with `&`: the shell would make it ignore SIGINT and SIGQUIT, and no shell can undo that. setsid(1),
# which forks when it leads a process group, puts the supervisor into the background instead.

fail() {
    echo "$1" >&2
    exit 1
}

boot_id() {
    read -r boot </proc/sys/kernel/random/boot_id
}

# Sets $pid; fails when no command was started since the guest was booted.
started() {
    [ -f "$state/pid" ] || return 1
    boot_id
    pid= of=
    while IFS='=' read -r key value; do
        case $key in
            pid) pid=$value ;;
            boot_id) of=$value ;;
        esac
    done <"$state/pid"
    [ -n "$pid" ] && [ "$of" = "$boot" ]
}

# Every program that is started costs an emulated guest a twentieth of a second, and the command waits for all of them: what the
# shell can do by itself it does.

# Sets $me to the user that we are, $uid, $gid, $home and $login_shell to those of the user.
resolve() {
    me=
    while read -r key me _; do
        [ "$key" = Uid: ] && break
    done </proc/self/status
    [ -n "$user" ] || user=$(id -un)
    home=/ login_shell=/bin/sh
    lookup </etc/passwd || lookup_elsewhere || {
        echo nouser
        exit 3
    }
    if [ "$me" != 0 ] && [ "$me" != "$uid" ]; then
        echo noroot
        exit 5
    fi
}

# Looks for the user in a passwd file.
lookup() {
    while IFS=: read -r name _ its_uid its_gid _ its_home its_shell; do
        [ "$name" = "$user" ] && [ -n "$its_uid" ] && [ -n "$its_gid" ] || continue
        uid=$its_uid gid=$its_gid home=${its_home:-/} login_shell=${its_shell:-/bin/sh}
        return 0
    done
    return 1
}

# Users can come from elsewhere, too (LDAP).
lookup_elsewhere() {
    uid=$(id -u "$user" 2>/dev/null) && gid=$(id -g "$user" 2>/dev/null) || return 1
    passwd=$(getent passwd "$user" 2>/dev/null) && lookup <<END
$passwd
END
    return 0
}

# Runs in the command's session, still as root: records the pid, then becomes the command.
stub='
    { echo 0 >/proc/$$/oom_score_adj; } 2>/dev/null
    printf "pid=%s\nboot_id=%s\n" "$$" "$0" >"$1/pid"
    echo pid 1<>"$1/ready"
    shift
    exec "$@"
'

# Runs in a check's session, still as root.
mark='
    echo "$$" >"$0"
    exec "$@"
'

# Becomes the command that the function $1 has, as its user.
become() {
    if [ "$me" = "$uid" ]; then
        "$1"
    elif setpriv --reuid="$uid" --regid="$gid" --init-groups true 2>/dev/null; then
        "$1" setpriv --reuid="$uid" --regid="$gid" --init-groups
    else
        "$1" su -s /bin/sh -c 'exec "$@"' -- "$user" sh
    fi
}

# Sets $pids to the processes of the command: its session, all their descendants, and the sessions of those.
members() {
    pids=' ' sessions=" $pid " more=yes
    while [ "$more" ]; do
        more=
        for stat in /proc/[0-9]*/stat; do
            { read -r line <"$stat"; } 2>/dev/null || continue
            process=${stat#/proc/} process=${process%/stat}
            case $pids in *" $process "*) continue ;; esac
            set -- ${line##*) }
            [ "$1" = Z ] && continue
            case "$pids|$sessions" in
                *" $2 "*"|"* | *"|"*" $4 "*) ;;
                *) continue ;;
            esac
            pids="$pids$process " more=yes
            case $sessions in *" $4 "*) ;; *) sessions="$sessions$4 " ;; esac
        done
    done
}

# Signals the command's processes; with KILL until none is left, however fast they fork.
signal_members() {
    rounds=0
    while [ "$rounds" -lt 50 ]; do
        members
        [ "$pids" = ' ' ] && return 0
        kill -"$1" $pids 2>/dev/null
        [ "$1" = KILL ] || return 0
        rounds=$((rounds + 1))
        [ "$rounds" -lt 3 ] || sleep 0.05 2>/dev/null || sleep 1
    done
}

# The size of a file that this shell holds open, whatever its name has been made to mean since.
size() {
    stat -L -c %s "/proc/$$/fd/$1" 2>/dev/null || wc -c <"/proc/$$/fd/$1"
}

start() {
    if started; then
        tell
        exit 0
    fi
    resolve
    umask 077
    [ -d "$state" ] || mkdir -p "$state" || exit 1
    set -C # makes a file that is there already an error
    if true 2>/dev/null >"$state/started"; then
        set +C
        prepare
        exec 8<>"$state/ready"
        # Where setsid cannot be told to fork, the first makes a session, and the second, which leads it now, has to fork to
        # make another.
        setsid -f /bin/sh "$launcher" run </dev/null >/dev/null 2>&1 8>&- ||
            setsid setsid /bin/sh "$launcher" run </dev/null >/dev/null 2>&1 8>&-
        read -r _ <&8
    else # another start is at work
        set +C
        tries=0
        until started || [ "$tries" -ge 100 ]; do
            tries=$((tries + 1))
            sleep 0.1 2>/dev/null || sleep 1
        done
    fi
    started || fail 'the launcher could not start the command in the guest'
    tell
}

# What "started" has found.
tell() {
    echo "pid=$pid"
    echo "boot_id=$of"
}

# Makes the sandbox, which is the user's; the directories above it are root's.
prepare() {
    umask 022
    [ -d "$sandbox" ] || mkdir -p -m 0750 "$sandbox" || exit 1
    for file in stdout stderr; do
        : >>"$sandbox/$file" || exit 1
    done
    if [ "$me" = 0 ] && [ "$uid:$gid" != 0:0 ]; then
        # The sandbox itself last: a task of the same user that runs already must not put anything into the way of this.
        [ ! -f "$state/fetched" ] || chown -hR "$uid:$gid" "$sandbox" || exit 1
        chown "$uid:$gid" "$sandbox/stdout" "$sandbox/stderr" "$sandbox" || exit 1
    fi
    # By its time it is told what the command has changed.
    [ ! -f "$state/fetched" ] || : >"$state/fetched"
    name_guest
    mkfifo "$state/alive" "$state/ready" || exit 1
}

# The slave's name leads to the guest itself: an executor takes it for that of its own host, and binds it (Spark does). In
# front, since the first line that has a name wins; a guest that does not let us keeps its own idea of the name.
name_guest() {
    [ "$hostname" ] && [ "$address" ] && [ "$me" = 0 ] || return 0
    # Once: another launcher in this guest may be at it.
    set -C
    if true 2>/dev/null >"${state%/*}/named"; then
        set +C
    else
        set +C
        return 0
    fi
    line="$address $hostname" rest=
    [ -f "$hosts" ] && while IFS= read -r known || [ "$known" ]; do
        [ "$known" = "$line" ] && return 0
        rest="$rest$known
"
    done <"$hosts"
    { printf '%s\n%s' "$line" "$rest" >"$hosts"; } 2>/dev/null || :
}

# Sets $oom to how many processes this guest's kernel has killed for want of memory.
oom_kills() {
    oom=0
    while read -r key value; do
        [ "$key" != oom_kill ] || { oom=$value && break; }
    done 2>/dev/null <"$vmstat"
}

# The supervisor: in a session of its own, it lives as long as the command.
supervise() {
    trap 'echo ended 1<>"$state/ready"' EXIT
    resolve
    boot_id
    { echo -1000 >/proc/$$/oom_score_adj; } 2>/dev/null
    exec 9<>"$state/alive" 5>>"$sandbox/stdout" 6>>"$sandbox/stderr"
    oom_kills
    before=$oom
    (
        umask 022
        cd "$sandbox" && become task
    ) </dev/null >&5 2>&6 5>&- 6>&- 9>&-
    status=$?
    started && signal_members KILL
    [ "$status" = 0 ] || oom_kills
    {
        if [ "$status" -gt 128 ] && [ "$status" -le 192 ]; then
            echo "signal=$((status - 128))"
        else
            echo "exit=$status"
        fi
        [ "$oom" = "$before" ] || echo "oom=$((oom - before))"
        echo "stdout=$(size 5)"
        echo "stderr=$(size 6)"
    } >"$state/status.tmp"
    mv -f "$state/status.tmp" "$state/status"
}

# Opened for both, the FIFO never blocks; once our own writing end is closed again, the read ends with the supervisor, and
# at once if it has gone already.
await() {
    started || {
        echo notstarted
        exit 4
    }
    exec 8<>"$state/alive"
    exec 7<"$state/alive"
    exec 8>&-
    [ -f "$state/status" ] || read -r _ <&7
    [ -f "$state/status" ] || {
        echo lost
        exit 6
    }
    cat "$state/status"
}

# One after the other: a check of this name that still runs, because its ssh connection broke, is ended first.
run_check() {
    resolve
    end_check "$1"
    (
        umask 022
        cd "$sandbox" && become "$1_job"
    ) </dev/null >/dev/null 2>&1
    status=$?
    : >"$state/$1"
    echo "exit=$status"
}

end_check() {
    pid=
    { read -r pid <"$state/$1"; } 2>/dev/null
    [ -z "$pid" ] || signal_members KILL
}

launcher=${launcher:-$0}
case $1 in
    start) start ;;
    run) supervise ;;
    wait) await ;;
    check) run_check "$2" ;;
    end-check) end_check "$2" ;;
    kill) if started; then signal_members "${2:-TERM}"; fi ;;
    *) fail "usage: $0 start|wait|kill SIGNAL" ;;
esac
