# Runs the postStart hook right after the container's start. The unit is up, and its copy ready, only
# after it; when it fails the container is stopped, and systemd starts it again.
# shellcheck disable=SC2034,SC2154  # all of them are set before
agent=kube-lifecycle/1.31 any_status=yes
: "$result" "$stopper" "$grace"

# give_up WHY: leaves word for fleetd, then stops the container.
give_up() {
  trap '' TERM
  printf '%s\n' "$1" >&2
  mkdir -p "${result%/*}"
  printf '%s fail %s\n' "$INVOCATION_ID" "$(printf '%s' "$1" | LC_ALL=C tr -c ' -~' ' ' | cut -c 1-300)" \
    >"$result.tmp" && mv -f "$result.tmp" "$result"
  /bin/sh "$stopper" "$grace"
  exit 1
}

# At a stop in this state systemd runs no ExecStop, and an engine's monitor ignores its SIGTERM.
trap 'give_up "stopped while the postStart hook ran"' TERM
await_container || give_up 'postStart hook failed: the container does not run'
open_scratch
post_start >&3 2>&1 &
if ! wait "$!"; then
  why=$(cut -c 1-200 <&4)
  give_up "postStart hook failed: ${why:-it says nothing}"
fi
