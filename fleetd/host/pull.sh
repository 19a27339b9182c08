# Makes sure of images. Pulls run in transient units, which outlive the connection and are never killed
# hard (P 42, 75); each leaves its exit status and what it said under /run, for this or a later visit.
# Logins lie in a directory of root's under /run, which the unit deletes when it ends.
# shellcheck disable=SC2034,SC2153,SC2154,SC2174

# What the transient unit runs, with the runtime, the image, its files and its logins. (systemd would take a
# variable in braces for one of its own.)
# shellcheck disable=SC2016
PULLER='
trap "rm -rf -- $4" EXIT
trap "exit 143" TERM INT HUP
:>"$3.said"
for login in "$4"/*; do
  [ -e "$login" ] || login=""
  case $1:$login in
    *:) "$1" pull -- "$2" ;;
    podman:*) podman pull --authfile "$login/config.json" -- "$2" ;;
    *) "$1" --config "$login" pull -- "$2" ;;
  esac >>"$3.said" 2>&1
  status=$?
  [ "$status" != 0 ] || break
done
echo "$status" >"$3.status"
mv -f "$3.status" "$3.done"'

verb_pull() {
  begin
  IMAGES='' LOGINS='' RESULTS=''
  read_body pull_asked || exit 3
  if ! fence; then
    told_no
    return 0
  fi
  if ! command -v "$RUNTIME" >/dev/null 2>&1; then
    part apply 0 "failed${TAB}pull$TAB$RUNTIME is not installed$NL"
    return 0
  fi
  mkdir -p -m 0755 "$RUN" "$RUN/op"
  PENDING=''
  each pull_start "$IMAGES"
  uptime_s
  END=$((UPTIME + WAIT_S))
  while [ -n "$PENDING" ] && [ "$UPTIME" -lt "$END" ]; do
    sleep 0.3
    STILL=$PENDING PENDING=''
    each pull_poll "$STILL"
    uptime_s
  done
  each pull_pending "$PENDING"
  part pull 0 "$RESULTS"
}

# pull_asked: pull FLEET TERM RUNTIME WAIT DS; image IMAGE POLICY SOURCE; login IMAGE DOCUMENT.
pull_asked() {
  case $1 in
    pull)
      FLEET=$2 ORDER_TERM=$3 RUNTIME=$4 WAIT_S=${5%%"$TAB"*}
      plain "${5#*"$TAB"}"
      DS=$PLAIN
      ;;
    image) IMAGES="$IMAGES$2$TAB$3$TAB$4$NL" ;;
    login) LOGINS="$LOGINS$2$TAB$3$NL" ;;
  esac
}

# source_of IMAGE SOURCE: sets SOURCE to where it is pulled from.
source_of() {
  [ "$2" = - ] || set -- "$2"
  full_name "$1"
  SOURCE=$FULL
}

# pull_start IMAGE POLICY SOURCE
pull_start() {
  asked=$line
  name_of "$1"
  if systemctl is-active --quiet "fleetd-op-$OP.service"; then
    PENDING=$PENDING$asked$NL
    return 0
  fi
  # What nobody came for in time is no answer to this question.
  [ "$2" != Always ] || find "$RUN/op" -name "$OP.done" -mmin +15 -exec rm -f -- {} +
  if [ -e "$RUN/op/$OP.done" ]; then
    pull_poll "$@"
    return 0
  fi
  if ! settle "$OP"; then
    pull_failed "$1" "${WHY:-$RUNTIME does not tell its images}"
    return 0
  fi
  if [ "$2" != Always ] && pull_present "$1"; then return 0; fi
  if [ "$2" = Never ]; then
    pull_failed "$1" "it is not on this host, and imagePullPolicy is Never; bring it with \`fleetd image push\`"
    return 0
  fi
  source_of "$1" "$3"
  if ! intend "$SOURCE" || ! place_logins "$1"; then
    pull_failed "$1" "$WHY"
    return 0
  fi
  SAID=$(systemd-run --quiet --collect --unit="fleetd-op-$OP" -p RuntimeMaxSec=7200 -p SendSIGKILL=no \
    --setenv=HOME=/root /bin/sh -c "$PULLER" sh "$RUNTIME" "$SOURCE" "$RUN/op/$OP" "$RUN/login/$OP" 2>&1) || {
    # Somebody else's visit may have started it just now.
    systemctl is-active --quiet "fleetd-op-$OP.service" || {
      rm -rf -- "$RUN/login/$OP"
      pull_failed "$1" "$SAID"
      return 0
    }
  }
  PENDING=$PENDING$asked$NL
}

# place_logins IMAGE: one directory for each, where both engines look for it.
place_logins() {
  sweep_logins
  rm -rf -- "$RUN/login/$OP"
  NUMBER=0
  LOGIN_FOR=$1
  each place_login "$LOGINS" || fail pull "cannot keep the login in $RUN/login"
}

# sweep_logins: those of a unit that was killed, and of a visit that was before its unit ran.
sweep_logins() {
  [ -d "$RUN/login" ] || return 0
  set +f
  for stale in "$RUN/login"/*; do
    systemctl is-active --quiet "fleetd-op-${stale##*/}.service" ||
      find "$RUN/login" -mindepth 1 -maxdepth 1 -name "${stale##*/}" -mmin +2 -exec rm -rf -- {} +
  done
  set -f
}

place_login() {
  [ "$1" = "$LOGIN_FOR" ] || return 0
  NUMBER=$((NUMBER + 1))
  mkdir -p -m 0700 "$RUN/login" "$RUN/login/$OP" "$RUN/login/$OP/$NUMBER" &&
    printf '%s\n' "$2" >"$RUN/login/$OP/$NUMBER/config.json"
}

# pull_poll IMAGE POLICY SOURCE
pull_poll() {
  asked=$line
  name_of "$1"
  if [ -e "$RUN/op/$OP.done" ]; then
    read -r status <"$RUN/op/$OP.done"
    if ! settle "$OP"; then
      pull_failed "$1" "${WHY:-$RUNTIME does not tell its images}"
    elif [ "$status" != 0 ]; then
      if [ "$2" != Always ] || ! unreachable "$(cat "$RUN/op/$OP.said")" || ! pull_present "$1" - "$UNASKED"; then
        pull_failed "$1" "$(tail -c 600 "$RUN/op/$OP.said")"
      fi
    elif ! pull_present "$1" pulled; then
      if [ "$3" = - ]; then
        pull_failed "$1" "it was pulled and is not there"
      else
        pull_failed "$1" "$3 is another image in its registry; bring the right one with \`fleetd image push\`"
      fi
    fi
    rm -f -- "$RUN/op/$OP.done" "$RUN/op/$OP.said"
  elif systemctl is-active --quiet "fleetd-op-$OP.service" || [ -e "$RUN/op/$OP.done" ]; then
    PENDING=$PENDING$asked$NL
  else
    pull_failed "$1" "the pull was ended from outside"
  fi
}

UNASKED='its registry cannot be reached; what is on this host is used'

# unreachable TEXT: whether an engine says that nobody answered, in the words of Go's network library.
unreachable() {
  case $1 in *'dial tcp'* | *'dial udp'* | *'i/o timeout'* | *'Client.Timeout'*) return 0 ;; esac
  return 1
}

# pull_present IMAGE [pulled|- MESSAGE]: adds its result when the image is here. A digest is told only where a
# registry is known to be behind it: podman makes one up for imported images too.
pull_present() {
  shown=$(timeout -k 5 60 "$RUNTIME" image inspect \
    --format '{{.Id}} {{.Os}}/{{.Architecture}}{{range .RepoDigests}} {{.}}{{end}}' -- "$1" 2>/dev/null) || return 1
  id=${shown%% *} shown=${shown#* } digest=-
  platform=${shown%% *} known=0
  case $RUNTIME:$2 in docker:* | *:pulled) known=1 ;; esac
  if [ "$known" = 0 ] && load_book && has_entry "pulled$TAB$RUNTIME${TAB}sha256:${id#sha256:}"; then known=1; fi
  if [ "$known" = 1 ]; then
    repository=${1%%@*}
    case ${repository##*/} in *:*) repository=${repository%:*} ;; esac
    IFS=$TAB$NL' '
    for word in ${shown#"$platform"}; do
      case $word in "$repository"@* | */"$repository"@*) digest=$word ;; esac
    done
  fi
  RESULTS="$RESULTS$1${TAB}present$TAB$id$TAB$digest$TAB${3:--}$TAB$platform$NL"
}

pull_failed() {
  one_line "$2"
  RESULTS="$RESULTS$1${TAB}failed$TAB-$TAB-$TAB$ONE_LINE$TAB-$NL"
}

pull_pending() {
  RESULTS="$RESULTS$1${TAB}pulling$TAB-$TAB-$TAB-$TAB-$NL"
}
