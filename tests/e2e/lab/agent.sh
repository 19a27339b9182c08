#!/bin/sh
# The agent that the end-to-end tests deploy: it proves how many copies ran, and when.
#
# It holds an exclusive lock on $AGENT_LOCK for as long as it lives and appends to $AGENT_LOCK.log, by
# the kernel's boot clock (seconds, one clock for all hosts of the lab):
#   start TIME ID VERSION   it has the lock
#   beat TIME ID            ten times a second
#   stop TIME ID            SIGTERM came; the lock is still held while this is written
#   overlap TIME ID VERSION another copy holds the lock: the one thing that must never be
#   refuse TIME ID VERSION  it was told not to start
# Runs under dash on a host and under busybox in a container. Told by the environment:
#   AGENT_VERSION      a word to tell revisions apart (default none)
#   AGENT_LOCK         default /var/lib/lab-agent/lock
#   AGENT_REFUSE       non-empty: exit 1 instead of starting
#   AGENT_DIE_AFTER    seconds after which it exits 1 without a word, as a crash does
#   AGENT_IGNORE_TERM  non-empty: only SIGKILL ends it
#   AGENT_READY        a file that exists while it is ready
#   AGENT_READY_AFTER  seconds from start to ready (default 0)
#   AGENT_HTTP         a port where the directory of $AGENT_READY is served
# Arguments are ignored, so that it can stand in for any program of any manifest.
set -u
lock=${AGENT_LOCK:-/var/lib/lab-agent/lock}
version=${AGENT_VERSION:-none}
server=

centiseconds() { # the boot clock, a whole number
    read -r now _ </proc/uptime
    echo "${now%.*}${now#*.}"
}

say() { # EVENT [VERSION]
    read -r now _ </proc/uptime
    echo "$1 $now $id${2:+ $2}" >>"$lock.log"
}

end() { # STATUS
    [ -z "${AGENT_READY:-}" ] || rm -f "$AGENT_READY"
    [ -z "$server" ] || kill "$server"
    exit "$1"
}

mkdir -p "${lock%/*}"
started=$(centiseconds)
id=$started.$$
if [ -n "${AGENT_REFUSE:-}" ]; then
    say refuse "$version"
    echo "agent $version: told to refuse" >&2
    exit 1
fi
exec 9>>"$lock"
if ! flock -n 9; then
    say overlap "$version"
    echo "agent $version: another copy runs" >&2
    exit 1
fi
if [ -n "${AGENT_IGNORE_TERM:-}" ]; then
    trap '' TERM
else
    trap 'say stop; end 0' TERM
fi
# One that was told to end may have had its own rm killed with it.
[ -z "${AGENT_READY:-}" ] || rm -f "$AGENT_READY"
say start "$version"
echo "agent $version: started"
if [ -n "${AGENT_HTTP:-}" ]; then
    busybox httpd -f -p "$AGENT_HTTP" -h "${AGENT_READY%/*}" 9>&- &
    server=$!
fi

while :; do
    age=$(($(centiseconds) - started))
    if [ -n "${AGENT_DIE_AFTER:-}" ] && [ "$age" -ge "$((AGENT_DIE_AFTER * 100))" ]; then
        echo "agent $version: told to die" >&2
        end 1
    fi
    if [ -n "${AGENT_READY:-}" ] && [ "$age" -ge "$((${AGENT_READY_AFTER:-0} * 100))" ]; then
        [ -e "$AGENT_READY" ] || echo "$version" >"$AGENT_READY"
    fi
    say beat
    sleep 0.1 9>&- # a child that outlives us must not keep the lock
done
