# What can be asked of a workload: a command in it, an answer over HTTP, a connection, its gRPC health.
# Probes and hooks are made of these; a command is told in words, so that no text is read as shell.
#
# Set before: engine and container ('' for a unit of the host), peer (the container that holds the
# pod's address; '' for the host's own), asker (a name for whoever asks: one at a time bears it),
# scratch (a file). An answer takes `patience` seconds at most; 0 is for ever.
set -u
# shellcheck disable=SC2154  # all of them are set before
: "$engine" "$container" "$peer" "$asker" "$scratch"
patience=0
# A user agent that programs know: some answer it where they would turn others away.
agent=kube-probe/1.31
# A hook that asks over HTTP takes any status for an answer.
any_status=

have() {
  command -v "$1" >/dev/null 2>&1
}

# clock: sets `now` to the seconds since the boot, which nobody can set.
# shellcheck disable=SC2034  # used by the script around this one
clock() {
  IFS=' .' read -r now _ </proc/uptime
}

bounded() {
  if [ "$patience" = 0 ]; then
    "$@"
  else
    timeout -s KILL "$patience" "$@"
  fi
}

# Where the pod listens, or why that cannot be told. With hostNetwork a kubelet asks the host's own
# address, which some agents alone listen on. A host that does not bear the address by which it is
# known (behind NAT, by name) is asked on loopback.
pod_address() {
  if [ -n "$peer" ]; then
    container_address
  elif [ -n "${FLEETD_HOST_IP:-}" ] && [ -n "$(ip -o addr show to "$FLEETD_HOST_IP" 2>/dev/null)" ]; then
    printf '%s' "$FLEETD_HOST_IP"
  else
    printf '127.0.0.1'
  fi
}

container_address() {
  form='{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}'
  seen=$("$engine" inspect -f "$form" "$peer" 2>&1) || { printf '%s' "$seen"; return 1; }
  case $seen in
    *[0-9a-f]*) ;;
    *) seen=$("$engine" inspect -f '{{.NetworkSettings.IPAddress}}' "$peer" 2>&1) ;;
  esac
  # shellcheck disable=SC2086  # the first of several, without blanks
  set -- $seen
  printf '%s' "${1:-the container has no address}"
  [ "$#" -gt 0 ]
}

# reach HOST: sets `to` to the host that the document names, else to the pod's address.
reach() {
  to=${1:-${address:-}}
  [ -n "$to" ] || to=$(pod_address) || { printf 'no address: %s' "$to"; return 1; }
  case $to in
    *:*) authority=[$to] ;;
    *) authority=$to ;;
  esac
}

# is_up: whether the container runs, as its engine has it.
is_up() {
  [ "$("$engine" inspect -f '{{.State.Running}}' "$container" 2>/dev/null)" = true ]
}

# await_container: an attached client is up before its container is.
await_container() {
  tries=0
  until [ -z "$container" ] || is_up; do
    tries=$((tries + 1))
    [ "$tries" -lt 120 ] || return 1
    sleep 0.5 2>/dev/null || sleep 1
  done
}

# ask_exec WORD...
ask_exec() {
  if [ -z "$container" ]; then
    bounded "$@"
  else
    bounded "$engine" exec -e "FLEETD_ASKER=$asker" "$container" "$@"
  fi
  status=$?
  if [ "$status" = 137 ] && [ "$patience" != 0 ]; then
    [ -z "$container" ] || reap
    printf 'no answer within %s s' "$patience"
  fi
  return "$status"
}

# reap: an engine leaves a command running in the container when its client is killed.
reap() {
  # shellcheck disable=SC2013  # these words have no blanks
  for environ in $(grep -slzxF "FLEETD_ASKER=$asker" /proc/[0-9]*/environ); do
    pid=${environ#/proc/}
    kill -KILL "${pid%/environ}" 2>/dev/null
  done
}

# ask_sleep SECONDS
ask_sleep() {
  bounded sleep "$1"
}

# ask_tcp HOST PORT
ask_tcp() {
  reach "$1" || return 1
  if have bash; then
    # shellcheck disable=SC2016  # expanded by bash
    bounded bash -c 'exec 3<>"/dev/tcp/$1/$2"' bash "$to" "$2"
  elif have curl; then
    took=$(curl -q -s -g --noproxy '*' -o /dev/null -w '%{time_connect}' --max-time "$patience" \
      "telnet://$authority:$2" </dev/null)
    case $took in
      *[1-9]*) ;; # it connected; how the talk ended does not matter
      *) printf 'port %s takes no connection' "$2"; return 1 ;;
    esac
  elif have nc; then
    bounded nc -z "$to" "$2"
  else
    printf 'this host has no bash, curl or nc to ask with'
    return 1
  fi
}

# ask_http SCHEME HOST PORT PATH HEADER...
ask_http() {
  reach "$2" || return 1
  scheme=$1 port=$3 path=$4
  shift 4
  if have curl; then
    http_curl "$scheme://$authority:$port$path" "$@"
  elif have wget; then
    http_wget "$scheme://$authority:$port$path" "$@"
  elif have bash && [ "$scheme" = http ]; then
    http_bash "$@"
  else
    printf 'this host has no curl or wget to ask with'
    return 1
  fi
}

# http_curl URL HEADER...: what is moved within its host is followed, as a kubelet does.
http_curl() {
  url=$1 hops=0
  shift
  for header; do
    shift
    case $header in
      *': ') header="${header%: };" ;; # what curl calls a header without a value
    esac
    set -- "$@" -H "$header"
  done
  while :; do
    code=$(bounded curl -q -s -S -k -g --noproxy '*' -A "$agent" -o /dev/null \
      -w '%{http_code} %{redirect_url}' --max-time "$patience" "$@" "$url" 2>&1) ||
      { printf '%s' "${code:-no answer within $patience s}"; return 1; }
    next=${code#* } code=${code%% *}
    if [ -z "$next" ] || [ "$(host_of "$next")" != "$(host_of "$url")" ]; then
      answered "$code"
      return
    fi
    url=$next hops=$((hops + 1))
    [ "$hops" -le 10 ] || { printf 'moved more than 10 times'; return 1; }
  done
}

# host_of URL
host_of() {
  rest=${1#*://}
  rest=${rest%%[/?#]*}
  rest=${rest##*@}
  case $rest in
    '['*) printf '%s' "${rest%%]*}" ;;
    *) printf '%s' "${rest%%:*}" ;;
  esac
}

# http_wget URL HEADER...
http_wget() {
  url=$1
  shift
  for header; do
    shift
    set -- "$@" "--header=$header"
  done
  case $url in
    https:*) set -- --no-check-certificate "$@" ;;
  esac
  if [ "$patience" != 0 ]; then
    set -- -T "$patience" "$@"
  fi
  bounded wget -q -O /dev/null -U "$agent" "$@" "$url" </dev/null
}

# http_bash HEADER...
http_bash() {
  named=
  for header; do
    case $header in
      [Hh][Oo][Ss][Tt]:*) named=yes ;;
    esac
  done
  if [ -z "$named" ]; then
    set -- "Host: $authority:$port" "$@"
  fi
  # shellcheck disable=SC2016  # expanded by bash
  code=$(bounded bash -c '
    exec 3<>"/dev/tcp/$1/$2" || exit 1
    printf "GET %s HTTP/1.0\r\nUser-Agent: %s\r\n" "$3" "$4" >&3
    shift 4
    printf "%s\r\n" "$@" "Connection: close" "" >&3
    read -r _ code _ <&3 && printf "%s" "$code"' \
    bash "$to" "$port" "$path" "$agent" "$@" 2>&1) ||
    { printf '%s' "${code:-no answer within $patience s}"; return 1; }
  answered "$code"
}

answered() {
  printf 'HTTP status %s' "$1"
  case $any_status$1 in
    yes* | 2?? | 3??) return 0 ;;
    *) return 1 ;;
  esac
}

# open_scratch: a file that is gone already, to write to (3) and to read from (4).
open_scratch() {
  mkdir -p "${scratch%/*}"
  exec 3>"$scratch"
  exec 4<"$scratch"
  rm -f "$scratch"
}

# ask_grpc PORT REQUEST: REQUEST is a framed HealthCheckRequest, in escapes of printf. The framed
# answer is one byte of no compression, four of length, and the status as field 1.
ask_grpc() {
  reach '' || return 1
  if ! have curl; then
    printf 'this host has no curl to ask with, which gRPC needs'
    return 1
  fi
  open_scratch
  # shellcheck disable=SC2059  # the request is a format, of escapes alone
  seen=$(printf "$2" | bounded curl -q -s -S -g --noproxy '*' --http2-prior-knowledge -A "$agent" \
    --max-time "$patience" -H 'Content-Type: application/grpc' -H 'TE: trailers' --data-binary @- \
    -D /dev/fd/3 "http://$authority:$1/grpc.health.v1.Health/Check" | od -An -v -tx1 | tr -d ' \n')
  grpc_trailers
  case $grpc_status:$seen in
    0:00000000020801) return 0 ;;
    0:0000000000) printf 'gRPC health is UNKNOWN' ;;
    0:00000000020802) printf 'gRPC health is NOT_SERVING' ;;
    0:00000000020803) printf 'gRPC health is SERVICE_UNKNOWN' ;;
    :*) printf 'no answer of a gRPC server' ;;
    *) printf 'gRPC status %s %s' "$grpc_status" "$grpc_message" ;;
  esac
  case $(curl -q -V) in
    *HTTP2*) ;;
    *) printf ': the curl of this host cannot speak HTTP/2, which gRPC needs' ;;
  esac
  return 1
}

# grpc_trailers: how the call ended, as the server has it.
grpc_trailers() {
  grpc_status='' grpc_message=''
  while IFS=': ' read -r name value; do
    case $name in
      [Gg]rpc-[Ss]tatus) grpc_status=${value%"$(printf '\r')"} ;;
      [Gg]rpc-[Mm]essage) grpc_message=${value%"$(printf '\r')"} ;;
    esac
  done <&4
}
