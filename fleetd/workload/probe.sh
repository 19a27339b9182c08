# Asks one workload, again and again, whether it has started, lives and is ready; leaves the answer for
# fleetd to read; and stops a workload that has not started, or lives no more, so that systemd starts it
# again. The lines before this one set the variables used below, and for each PROBE that there is define
# PROBE (sets its numbers) and ask_PROBE; `stop_workload SECONDS` stops it.
#
# An answer counts for one start of the workload: its INVOCATION_ID stands first in the result, and
# a new one begins all over. The startup probe goes first, then the other two run side by side.
# shellcheck disable=SC2034,SC2154  # set before, or used before
: "$stamp" "$result" "$probes"

asks() {
  case " $probes " in
    *" $1 "*) return 0 ;;
    *) return 1 ;;
  esac
}

# same_start: whether the workload still runs as it did when we began to ask.
same_start() {
  running=
  [ ! -r "$stamp" ] || IFS=' ' read -r _ running <"$stamp"
  [ "$running" = "$invocation" ]
}

# The result is replaced, never written in place, and only when it says something new.
tell() {
  line="$invocation $1 $(printf '%s' "$2" | LC_ALL=C tr -c ' -~' ' ' | cut -c 1-300)"
  if [ "$line" != "$told" ]; then
    mkdir -p "${result%/*}"
    printf '%s\n' "$line" >"$result.tmp" && mv -f "$result.tmp" "$result" && told=$line
  fi
}

# tell_ok: since when, by the host's clock, counts for minReadySeconds.
tell_ok() {
  [ -n "$since" ] || { clock && since=$now; }
  tell "ok@$since" "${cause:+restarted: $cause}"
}

# begin: waits for a start of the workload; `cause` is why we stopped it before, if it was us.
begin() {
  invocation=
  while same_start; do
    sleep 1
  done
  invocation=$running
  last='' told='' cause='' started='' since=''
  if [ -r "$result" ]; then
    IFS= read -r told <"$result"
    last=${told%% *}
  fi
  case ${told#"$last"} in
    ' fail liveness probe failed: '* | ' fail startup probe failed: '* | ' fail postStart hook failed: '*)
      cause=${told#* fail }
      ;;
    *'restarted: '*) [ "$last" != "$invocation" ] || cause=${told#*restarted: } ;;
  esac
  case $told in
    "$invocation ok@"*)
      since=${told#*@}
      since=${since%% *}
      ;;
  esac
  # A loop that begins anew does not take a start back that was seen.
  if ! asks startup || { [ "$last" = "$invocation" ] && [ "${told#* fail startup}" = "$told" ] &&
    [ "${told#* fail probes have}" = "$told" ]; }; then
    started=yes
  fi
  clock
  began=$now
}

# watch PROBE: asks in time until the workload starts anew or, for a startup probe, has started.
watch() {
  "$1"
  asker=$container.$1 scratch=$result.$1.tmp good=0 bad=0 state=fail address=''
  clock
  [ "$((began + initial))" -le "$now" ] || sleep "$((began + initial - now))"
  while same_start; do
    clock
    asked=$now
    once "$1"
    [ -z "$started" ] || [ "$1" != startup ] || return 0
    clock
    [ "$((asked + period))" -le "$now" ] || sleep "$((asked + period - now))"
  done
}

once() {
  if [ -n "$at_pod" ] && [ -z "$address" ]; then
    address=$(pod_address) || address=''
  fi
  if message=$("ask_$1" 2>&1); then
    good=$((good + 1)) bad=0
    [ "$good" -lt "$successes" ] || "pass_$1"
  else
    status=$?
    message=${message#"Killed
"} # the shell's own word
    message=${message:-exit status $status}
    bad=$((bad + 1)) good=0 address=''
    "miss_$1"
    [ "$bad" -lt "$failures" ] || "fail_$1"
  fi
}

pass_startup() { started=yes; }
miss_startup() { tell fail "startup probe has not passed yet: $message${cause:+; restarted: $cause}"; }
fail_startup() { fall startup; }

pass_liveness() { :; }
miss_liveness() { :; }
fail_liveness() { fall liveness; }

pass_readiness() { state=ok && tell_ok; }
miss_readiness() { [ "$state" = ok ] || fail_readiness; }
fail_readiness() { state=fail since='' && tell fail "readiness probe fails: $message${cause:+; restarted: $cause}"; }

# fall PROBE: the workload must go. Its unit takes this loop with it as soon as it has ended.
fall() {
  if [ -n "$reader" ]; then
    # From here on nobody else writes the result.
    kill -KILL "$reader" 2>/dev/null
    wait "$reader" 2>/dev/null
    reader=
  fi
  tell fail "$1 probe failed: $message"
  printf '%s probe failed: %s\n' "$1" "$message" >&2
  [ "$role" != gate ] || stop_and_fail
  while same_start; do
    stop_workload "$grace"
    sleep "$period"
  done
}

# follow: all probes of one start, to its end.
follow() {
  reader=
  if [ -z "$started" ]; then
    watch startup
    same_start || return 0
  fi
  if ! asks readiness; then
    tell_ok
  elif asks liveness; then
    watch readiness &
    reader=$!
  else
    watch readiness
  fi
  if asks liveness; then
    watch liveness
  fi
  [ -z "$reader" ] || wait "$reader"
  while same_start; do
    sleep 5
  done
}

# stop_and_fail: the unit is not up yet, so that nobody but us stops its container gracefully.
stop_and_fail() {
  trap '' TERM
  stop_workload "$grace"
  exit 1
}

# begin_to_ask: waits for a start, and for the container. Where that never comes up its unit says so.
begin_to_ask() {
  begin
  if [ "$last" != "$invocation" ]; then
    tell fail "probes have no result yet${cause:+; restarted: $cause}"
  fi
  await_container || return 1
  clock
  began=$now
}

# As a gate this runs in the start of a sidecar, which is up for those that follow it only once its
# startup probe has passed. Else it runs beside the workload, for good.
role=${1:-beside} reader=''
if [ "$role" = gate ]; then
  startup
  trap stop_and_fail TERM
  begin_to_ask || stop_and_fail
  [ -n "$started" ] || watch startup
  [ -n "$started" ] || exit 1
  exit 0
fi
while :; do
  begin_to_ask || continue
  follow
done
