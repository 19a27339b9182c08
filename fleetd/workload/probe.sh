# Asks one workload whether it is ready, again and again, and leaves the answer for fleetd to read.
# The lines before this one set the variables used below; $@ is the command of an exec probe, or
# the headers of an HTTP probe.
#
# An answer counts for one start of the workload: its INVOCATION_ID stands first in the result, and
# a new one begins all over. A workload is not ready until it has said so, as in Kubernetes.
set -u
# shellcheck disable=SC2154  # all of them are set before
: "$stamp" "$result" "$initial" "$period" "$patience" "$successes" "$failures" "$kind" "$engine" \
  "$container" "$host" "$port" "$scheme" "$path"

# Where the workload listens, or why that cannot be told.
address() {
  if [ -n "$host" ]; then
    printf '%s' "$host"
    return
  fi
  if [ -z "$container" ]; then
    printf '127.0.0.1'
    return
  fi
  form='{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}'
  seen=$("$engine" inspect -f "$form" "$container" 2>&1) || { printf '%s' "$seen"; return 1; }
  case $seen in
    *[0-9a-f]*) ;;
    *) seen=$("$engine" inspect -f '{{.NetworkSettings.IPAddress}}' "$container" 2>&1) ;;
  esac
  # shellcheck disable=SC2086  # the first of several, without blanks
  set -- $seen
  printf '%s' "${1:-the container has no address}"
  [ "$#" -gt 0 ]
}

have() {
  command -v "$1" >/dev/null 2>&1
}

bounded() {
  timeout -s KILL "$patience" "$@"
}

run_exec() {
  if [ -n "$container" ]; then
    bounded "$engine" exec "$container" "$@"
  else
    bounded "$@"
  fi
}

run_tcp() {
  to=$(address) || { printf 'no address: %s' "$to"; return 1; }
  if have bash; then
    # shellcheck disable=SC2016  # expanded by bash
    bounded bash -c 'exec 3<>"/dev/tcp/$1/$2"' bash "$to" "$port"
  elif have nc; then
    bounded nc -z "$to" "$port"
  elif have curl; then
    took=$(curl -s -g --noproxy '*' -o /dev/null -w '%{time_connect}' --max-time "$patience" \
      "telnet://$to:$port" </dev/null)
    case $took in
      *[1-9]*) ;; # it connected; how the talk ended does not matter
      *) return 1 ;;
    esac
  else
    printf 'this host has no bash, nc or curl to probe with'
    return 1
  fi
}

run_http() {
  to=$(address) || { printf 'no address: %s' "$to"; return 1; }
  url=$scheme://$to:$port$path
  case $to in
    *:*) url=$scheme://[$to]:$port$path ;;
  esac
  if have curl; then
    http_curl "$@"
  elif have wget; then
    http_wget "$@"
  elif have bash && [ "$scheme" = http ]; then
    http_bash "$@"
  else
    printf 'this host has no curl or wget to probe with'
    return 1
  fi
}

http_curl() {
  for header; do
    shift
    set -- "$@" -H "$header"
  done
  code=$(bounded curl -s -S -k -g --noproxy '*' -o /dev/null -w '%{http_code}' \
    --max-time "$patience" "$@" "$url" 2>&1) || { printf '%s' "$code"; return 1; }
  answered "$code"
}

http_wget() {
  for header; do
    shift
    set -- "$@" "--header=$header"
  done
  if [ "$scheme" = https ]; then
    set -- --no-check-certificate "$@"
  fi
  bounded wget -q -O /dev/null -T "$patience" "$@" "$url" </dev/null
}

http_bash() {
  named=
  for header; do
    case $header in
      [Hh][Oo][Ss][Tt]:*) named=yes ;;
    esac
  done
  if [ -z "$named" ]; then
    set -- "Host: $to:$port" "$@"
  fi
  # shellcheck disable=SC2016  # expanded by bash
  code=$(bounded bash -c '
    exec 3<>"/dev/tcp/$1/$2" || exit 1
    printf "GET %s HTTP/1.0\r\n" "$3" >&3
    shift 3
    printf "%s\r\n" "$@" "Connection: close" "" >&3
    read -r _ code _ <&3 && printf "%s" "$code"' \
    bash "$to" "$port" "$path" "$@" 2>&1) || { printf '%s' "$code"; return 1; }
  answered "$code"
}

answered() {
  printf 'HTTP status %s' "$1"
  case $1 in
    2?? | 3??) return 0 ;;
    *) return 1 ;;
  esac
}

# The result is replaced, never written in place, and only when it says something new.
tell() {
  line="$invocation $1 $(printf '%s' "$2" | tr -c '[:print:]' ' ' | cut -c 1-200)"
  if [ "$line" != "$told" ]; then
    mkdir -p "${result%/*}"
    printf '%s\n' "$line" >"$result.tmp" && mv -f "$result.tmp" "$result" && told=$line
  fi
}

once() {
  if message=$("run_$kind" "$@" 2>&1); then
    good=$((good + 1))
    bad=0
    if [ "$state" = ok ] || [ "$good" -ge "$successes" ]; then
      state=ok
      tell ok ''
    fi
  else
    status=$?
    bad=$((bad + 1))
    good=0
    if [ "$state" = fail ] || [ "$bad" -ge "$failures" ]; then
      state=fail
      tell fail "${message:-exit status $status}"
    fi
  fi
}

invocation=
told=
state=fail
while :; do
  now=
  if [ -r "$stamp" ]; then
    read -r _ now <"$stamp"
  fi
  if [ -z "$now" ]; then
    sleep 1
    continue
  fi
  if [ "$now" != "$invocation" ]; then
    invocation=$now
    state=fail
    good=0
    bad=0
    sleep "$initial"
  fi
  once "$@"
  sleep "$period"
done
