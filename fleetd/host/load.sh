# Takes in an image archive that follows the request. It is kept on disk until all of it is here and its sha256 is
# right; the engine then loads it in a transient unit, which is never killed hard (P 42).
# shellcheck disable=SC2034,SC2153,SC2154,SC2174

verb_load() {
  begin
  IMAGES='' RESULTS='' DS=''
  read_body load_asked || exit 3
  if fence && receive_archive && load_archive; then
    part pull 0 "$RESULTS"
  else
    told_no
  fi
}

# load_asked: load FLEET TERM RUNTIME SIZE SHA256; image ID NAME.
load_asked() {
  case $1 in
    load) FLEET=$2 ORDER_TERM=$3 RUNTIME=$4 ARCHIVE_SIZE=${5%%"$TAB"*} ARCHIVE_SUM=${5#*"$TAB"} ;;
    image) IMAGES="$IMAGES$2$TAB$3$NL" ;;
  esac
}

receive_archive() {
  command -v "$RUNTIME" >/dev/null 2>&1 || fail load "$RUNTIME is not installed" || return 1
  knows_archives || return 1
  mkdir -p -m 0700 "$STATE" "$STATE/stage" && mkdir -p -m 0755 "$RUN" "$RUN/op" ||
    fail transfer "cannot make $STATE/stage" || return 1
  find "$STATE/stage" -mindepth 1 -maxdepth 1 -mmin +60 -exec rm -rf -- {} + 2>/dev/null
  # shellcheck disable=SC2046
  set -- $(df -Pk -- "$STATE/stage" 2>/dev/null | tail -n 1)
  needed=$((ARCHIVE_SIZE / 1024))
  [ "${4:-0}" -gt "$needed" ] ||
    fail transfer "no room for the archive in $STATE: $needed KiB are needed, ${4:-0} are free" || return 1
  STAGE=$STATE/stage/$NONCE
  mkdir -m 0700 "$STAGE" || fail transfer "cannot make $STAGE" || return 1
  SAID=$(head -c "$ARCHIVE_SIZE" 2>&1 >"$STAGE/archive")
  sum=$(sha256sum <"$STAGE/archive")
  [ "${sum%% *}" = "$ARCHIVE_SUM" ] ||
    fail transfer "the archive did not arrive whole, or cannot be kept: ${SAID:-sha256 differs}"
}

# knows_archives: whether the engine has images under the ids that archives give them. docker with the store of
# containerd, as docker 29 is installed, makes up others when it loads one.
knows_archives() {
  [ "$RUNTIME" = docker ] || return 0
  case $(timeout -k 5 30 docker info --format '{{.DriverStatus}}' 2>/dev/null) in
    *io.containerd.snapshotter*) ;;
    *) return 0 ;;
  esac
  fail load "docker keeps its images in containerd here, under other ids than those of an archive: have it pull \
from a registry, or set the feature containerd-snapshotter to false in its daemon.json"
}

load_archive() {
  each load_intend "$IMAGES" || return 1
  OP=$NONCE
  # shellcheck disable=SC2016
  SAID=$(systemd-run --quiet --collect --unit="fleetd-op-$OP" -p RuntimeMaxSec=7200 -p SendSIGKILL=no \
    --setenv=HOME=/root \
    /bin/sh -c '"$1" load -i "$2" >"$3.said" 2>&1; echo $? >"$3.status"; mv -f "$3.status" "$3.done"' \
    sh "$RUNTIME" "$STAGE/archive" "$RUN/op/$OP" 2>&1) || fail load "$SAID" || return 1
  while [ ! -e "$RUN/op/$OP.done" ]; do
    systemctl is-active --quiet "fleetd-op-$OP.service" || [ -e "$RUN/op/$OP.done" ] ||
      fail load "the load was ended from outside" || return 1
    sleep 0.3
  done
  read -r status <"$RUN/op/$OP.done"
  said=$(tail -c 600 "$RUN/op/$OP.said")
  rm -f -- "$RUN/op/$OP.done" "$RUN/op/$OP.said"
  [ "$status" = 0 ] || fail load "$RUNTIME load: $said" || return 1
  each load_one "$IMAGES"
}

# load_intend ID NAME
load_intend() {
  name_of "$1"
  intend "$1" "$2"
}

# load_one ID NAME: the image is here, has its name, and stands in the book.
load_one() {
  name_of "$1"
  SAID=$(timeout -k 5 60 "$RUNTIME" tag "$1" "$2" 2>&1) || fail load "$RUNTIME tag $1 $2: $SAID" || return 1
  settle "$OP" || fail load "${WHY:-$RUNTIME does not tell its images}" || return 1
  RESULTS="$RESULTS$1${TAB}present$TAB$1$TAB-$TAB-$TAB-$NL"
}
