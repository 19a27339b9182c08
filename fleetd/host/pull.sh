# Makes sure of images. Pulls run in transient units, which outlive the connection and are never killed
# hard (P 42, 75); each leaves its exit status and what it said under /run, for this or a later visit.
# shellcheck disable=SC2034,SC2153,SC2154,SC2174

verb_pull() {
  trap '' HUP PIPE
  IMAGES='' RESULTS=''
  read_body pull_asked || exit 3
  read_owner
  if [ -n "$OWNER_FLEET" ] && [ "$OWNER_FLEET" != "$FLEET" ]; then
    part refused 0 "$OWNER_FLEET$TAB$OWNER_TERM${TAB}this host belongs to fleet $OWNER_FLEET$NL"
    return 0
  fi
  if ! command -v "$RUNTIME" >/dev/null 2>&1; then
    part apply 0 "failed${TAB}pull$TAB$RUNTIME is not installed$NL"
    return 0
  fi
  mkdir -p -m 0755 "$RUN" "$RUN/op"
  PENDING='' FRESH=$ALWAYS
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

# pull_asked: pull FLEET RUNTIME WAIT ALWAYS, and one `image` line for each.
pull_asked() {
  case $1 in
    pull) FLEET=$2 RUNTIME=$3 WAIT_S=$4 ALWAYS=$5 ;;
    image) IMAGES="$IMAGES$2$NL" ;;
  esac
}

# name_of IMAGE: sets OP to what its transient unit and its files are named by.
name_of() {
  OP=$(printf '%s' "$RUNTIME $1" | sha256sum)
  OP=${OP%"${OP#????????????????}"}
}

# source_of IMAGE: sets SOURCE to where it is pulled from. A name without a registry means Docker's, as in
# Kubernetes; podman by itself would look in the registries that this host happens to search, or in none.
source_of() {
  SOURCE=$1
  [ "$RUNTIME" = podman ] || return 0
  case $1 in
    */*)
      case ${1%%/*} in
        *.* | *:* | localhost) ;;
        *) SOURCE=docker.io/$1 ;;
      esac
      ;;
    *) SOURCE=docker.io/library/$1 ;;
  esac
}

pull_start() {
  name_of "$1"
  if systemctl is-active --quiet "fleetd-op-$OP.service"; then
    PENDING="$PENDING$1$NL"
    return 0
  fi
  if [ -e "$RUN/op/$OP.done" ]; then
    pull_poll "$1"
    return 0
  fi
  if [ "$ALWAYS" = 0 ] && pull_present "$1"; then return 0; fi
  source_of "$1"
  # shellcheck disable=SC2016
  SAID=$(systemd-run --quiet --collect --unit="fleetd-op-$OP" -p RuntimeMaxSec=7200 -p SendSIGKILL=no \
    /bin/sh -c '"$1" pull -- "$2" >"$3.said" 2>&1; echo $? >"$3.status"; mv -f "$3.status" "$3.done"' \
    sh "$RUNTIME" "$SOURCE" "$RUN/op/$OP" 2>&1) || {
    # Somebody else's visit may have started it just now.
    systemctl is-active --quiet "fleetd-op-$OP.service" || {
      pull_failed "$1" "$SAID"
      return 0
    }
  }
  PENDING="$PENDING$1$NL"
}

pull_poll() {
  name_of "$1"
  if [ -e "$RUN/op/$OP.done" ]; then
    read -r status <"$RUN/op/$OP.done"
    rm -f -- "$RUN/op/$OP.done"
    if [ "$status" = 0 ]; then
      : >"$RUN/op/$OP.pulled"
      pull_present "$1" || pull_failed "$1" "it was pulled and is not there"
    else
      pull_failed "$1" "$(tail -c 600 "$RUN/op/$OP.said")"
    fi
    rm -f -- "$RUN/op/$OP.said"
  elif systemctl is-active --quiet "fleetd-op-$OP.service" || [ -e "$RUN/op/$OP.done" ]; then
    PENDING="$PENDING$1$NL"
  else
    pull_failed "$1" "the pull was ended from outside"
  fi
}

# pull_present IMAGE: adds its result when the image is here. A digest is told only where a registry is known
# to be behind it: podman makes one up for imported images too.
pull_present() {
  shown=$(timeout -k 5 60 "$RUNTIME" image inspect \
    --format '{{.Id}}{{range .RepoDigests}} {{.}}{{end}}' -- "$1" 2>/dev/null) || return 1
  id=${shown%% *} digest=-
  if [ "$RUNTIME" = docker ] || [ -e "$RUN/op/$OP.pulled" ]; then
    repository=${1%%@*}
    case ${repository##*/} in *:*) repository=${repository%:*} ;; esac
    for word in ${shown#"$id"}; do
      case $word in "$repository"@* | */"$repository"@*) digest=$word ;; esac
    done
  fi
  RESULTS="$RESULTS$1${TAB}present$TAB$id$TAB$digest$TAB-$NL"
}

pull_failed() {
  one_line "$2"
  RESULTS="$RESULTS$1${TAB}failed$TAB-$TAB-$TAB$ONE_LINE$NL"
}

pull_pending() {
  RESULTS="$RESULTS$1${TAB}pulling$TAB-$TAB-$TAB-$NL"
}
